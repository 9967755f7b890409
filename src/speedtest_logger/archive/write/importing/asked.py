"""What the command line says of an import's rows, checked."""

from __future__ import annotations

import argparse
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from speedtest_logger import accounts
from speedtest_logger.archive.write.importing import values
from speedtest_logger.archive.write.importing.catalogue import BY_NAME
from speedtest_logger.archive.write.importing.records import Source
from speedtest_logger.errors import RecordError, UsageError
from speedtest_logger.record import is_id


def source(args: argparse.Namespace) -> Source:
    """Whose rows they are and how to read them. Raises UsageError with every problem."""
    places = places_of(args.location_map)
    wrong = [
        f"'{name}' is not an id: lower-case letters, digits and inner hyphens"
        for name in (args.node, args.location, *places.values())
        if name and not is_id(name)
    ]
    if args.format and args.format not in BY_NAME:
        wrong.append(f"'{args.format}' is not a known format: {', '.join(BY_NAME)}")
    if wrong:
        raise UsageError("; ".join(wrong))
    zone = zone_of(args.zone) if args.zone else None
    if args.at:
        try:
            values.moment(args.at, zone)
        except RecordError as error:
            raise UsageError(f"--at: {error}") from error
    return Source(args.node, args.location, args.at, zone, args.external_ip, places, args.format)


def zone_of(name: str) -> ZoneInfo:
    """A time zone of the IANA database. Raises UsageError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UsageError(f"--zone: '{name}' is not a time zone: write it like Europe/Berlin") from error


def places_of(told: list[str]) -> dict[str, str]:
    """Ids by the names that stand for them: NAME=ID each, or a file of such lines. Raises UsageError."""
    found: dict[str, str] = {}
    for each in told:
        lines = [each] if "=" in each else _lines(Path(each))
        for line in lines:
            name, equals, place = line.rpartition("=")
            if not equals or not name.strip():
                raise UsageError(f"--location-map: '{line}' is neither NAME=ID nor a file of such lines")
            found[name.strip()] = place.strip()
    return found


def _lines(file: Path) -> list[str]:
    try:
        with accounts.as_caller():
            text = file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise UsageError(f"--location-map: '{file}' is neither NAME=ID nor a file of such lines") from error
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
