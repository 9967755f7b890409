"""How the archive itself is: each part with a sentence, what is wrong first."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import duckdb

from speedtest_logger import registry
from speedtest_logger.archive.read import parts as read
from speedtest_logger.archive.read.parts import Part
from speedtest_logger.dashboard.figures.source import Source
from speedtest_logger.errors import SpeedtestError


def parts(source: Source, now: float) -> list[Part]:
    """All parts; those that are not well first."""
    asked: dict[str, Callable[[], Iterator[Part]]] = {
        "archive": lambda: _archive(source),
        "registry": lambda: _registry(source),
        "ingest": lambda: read.ingest(source.layout, now, expected=bool(source.schedules())),
        "inbox": lambda: read.inbox(source.layout, now),
        "quarantine": lambda: read.quarantine(source.layout),
        "backup": lambda: read.backup(source.layout, now),
        "database": lambda: read.database(source.layout, now),
        "store": lambda: read.store(source.layout, now),
        "verify": lambda: read.verify(source.layout),
        "disk": lambda: read.disk(source.layout),
    }
    return sorted((part for name, ask in asked.items() for part in _told(source, name, ask)), key=lambda part: part.ok)


def _told(source: Source, name: str, ask: Callable[[], Iterator[Part]]) -> list[Part]:
    """What is known of a part; that it cannot be looked at is an answer too."""
    try:
        return list(ask())
    except duckdb.Error as error:
        sentence = source.broken or str(error).partition("\n")[0]
        return [Part("rollups", ok=False, sentence=f"{sentence}: they are made again as soon as that can be")]
    except OSError as error:
        return [Part(name, ok=False, sentence=f"{error.filename or name}: {error.strerror or error}")]
    except SpeedtestError as error:
        return [Part(name, ok=False, sentence=str(error))]


def _archive(source: Source) -> Iterator[Part]:
    for folder in (source.layout.archive, source.layout.manifest, source.layout.state):
        os.scandir(folder).close()
    source.rollups.refresh()
    ((records,),) = source.rollups.reading().execute("SELECT count(*) FROM slot").fetchall()
    of_recent, of_all = "SELECT epoch_ms(max(started_at)) FROM recent", "SELECT max(started) FROM slot"
    last = next(
        (at for sql in (of_recent, of_all) for (at,) in source.rollups.reading().execute(sql).fetchall() if at), 0
    )
    figures = {"records": records, "last_record": last // 1000 if last else None}
    yield Part("archive", ok=True, sentence=f"{records:,} records", figures=figures)


def _registry(source: Source) -> Iterator[Part]:
    nodes = len(source.known().current)
    there = any(os.path.lexists(source.layout.root / place) for place in registry.PLACES)
    if not there and (nodes or any(source.layout.state.glob("nodes/*.json"))):  # only Ansible's nodes deliver
        sentence = f"{registry.PLACES[0]} is missing, so nobody knows which tests are due: run site.yml"
        yield Part("registry", ok=False, sentence=sentence)
    elif nodes:
        yield Part("registry", ok=True, sentence=f"{nodes:,} nodes have a schedule")
