"""What alerts are told by the inventory: rules, destinations and their addresses, in one file that root keeps."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speedtest_logger.alerts import destinations, rules
from speedtest_logger.alerts.destinations import Destination
from speedtest_logger.errors import ConfigError, NoAccessError
from speedtest_logger.files import STATE_BYTES

FILE = Path("/etc/speedtest-archive/alerts.json")
CREDENTIAL = "alerts.json"
GRACE_SECONDS = 300


@dataclass(frozen=True)
class Settings:
    """The file's content.

    `rules` are the fleet's, as `rules.effective` takes them; `grace_seconds` after which a slot without a record is a
    missed one; `heartbeat_url` and `link` are empty where there are none.
    """

    destinations: tuple[Destination, ...] = ()
    rules: Mapping[str, Any] = field(default_factory=dict)
    grace_seconds: float = GRACE_SECONDS
    heartbeat_url: str = ""
    link: str = ""


def place() -> Path:
    """Where the file is: systemd hands it to the unit as a credential, and root reads the file itself."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(os.environ.get("SPEEDTEST_ALERTS_FILE") or (Path(folder) / CREDENTIAL if folder else FILE))


def load(file: Path) -> Settings:
    """The settings. Raises ConfigError naming all that is wrong, but no address; NoAccessError."""
    try:
        with file.open("rb") as stream:
            content = json.loads(stream.read(STATE_BYTES))
    except PermissionError as error:
        raise NoAccessError(file, "read") from error
    except FileNotFoundError as error:
        raise ConfigError([f"{file} is missing: set speedtest_archive_alerts_destinations and run site.yml"]) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError([f"{file} is no JSON: run site.yml"]) from error
    if not isinstance(content, dict):
        raise ConfigError([f"{file}: a mapping is expected: run site.yml"])
    found, wrong = _destinations(content.get("destinations", []))
    wrong += rules.problems(content.get("rules", {}))
    grace = content.get("grace_seconds", GRACE_SECONDS)
    if isinstance(grace, bool) or not isinstance(grace, (int, float)) or not 0 <= grace <= 86_400:
        wrong.append(f"grace_seconds: {grace!r:.40} is no number of seconds up to a day")
    beat = str(content.get("heartbeat_url", ""))
    if beat and not beat.startswith(("https://", "http://")):
        wrong.append("heartbeat_url: an address with http:// or https:// is expected")
    if wrong:
        raise ConfigError([f"{file}: {problem}" for problem in wrong])
    return Settings(
        tuple(found), content.get("rules", {}), float(grace), beat, str(content.get("link", "")).rstrip("/")
    )


def _destinations(listed: object) -> tuple[list[Destination], list[str]]:
    """Those that are some, and what is wrong with the others."""
    if not isinstance(listed, list):
        return [], ["destinations: a list is expected"]
    found, wrong = [], []
    for number, entry in enumerate(listed, 1):
        try:
            found.append(destinations.read(entry))
        except (ValueError, TypeError) as error:
            wrong.append(f"destination {number}: {error}")
    names = [each.name for each in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    return found, wrong + [f"there are several destinations of the name {name}" for name in twice]
