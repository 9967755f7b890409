"""The floor plan: every module has a room, and a room imports only what its row names."""

from __future__ import annotations

import ast
import re
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from builders import ROOT

PACKAGE = ROOT / "src/speedtest_logger"
GROUND = {"ground"}
FORMAT = GROUND | {"archive.format"}
LEDGER = FORMAT | {"archive.ledger"}
ARRIVE = LEDGER | {"archive.arrive"}
WRITE = ARRIVE | {"archive.write"}
READ = ARRIVE | {"archive.read"}
CARE = WRITE | READ | {"archive.care"}
# What each room may import: rooms, or single modules of one. A room may always import itself.
ROOMS: dict[str, set[str]] = {
    "ground": set(),
    "engines": GROUND,
    "probes": GROUND,
    "node": GROUND | {"engines", "probes"},
    "archive.format": GROUND,
    "archive.ledger": FORMAT,
    "archive.arrive": LEDGER,
    "archive.write": ARRIVE,
    "archive.write.importing": WRITE | {"engines"},
    "archive.read": ARRIVE,
    "archive.report": READ,
    "archive.care": CARE,
    "archive.cli": CARE | {"archive.report", "archive.write.importing", "archive.shared", "sinks", "distributed"},
    "archive.shared": CARE | {"sinks"},
    "dashboard": READ | {"archive.report"},
    "workbench": READ | {"archive"},
    "alerts": READ,
    "sinks": READ,
    "distributed": READ | {"sinks"},
    "inventory": GROUND
    | {
        "engines",
        "probes",
        "node.config",
        "archive.arrive.limits",
        "alerts.rules",
        "alerts.destinations",
        "dashboard.users",
        "dashboard.keys",
    },
    # doors: what `python3 -m speedtest_logger` starts, and `from speedtest_logger.archive import open_archive`
    "__main__": {"node"},
    "archive": {"archive.read"},
}
GROUND_MODULES = {
    "accounts", "calendars", "domains", "env_file", "errors", "files", "invitation", "light", "log", "metrics",
    "probe_result", "record", "registry", "schedule", "systemd", "text", "usage", "wire",
}  # fmt: skip
STANDARD_LIBRARY_ONLY = ("ground", "engines", "probes", "node", "inventory", "__main__", "archive.arrive.receive")
DYNAMIC = ("import_module", "__import__")


def modules(package: Path) -> dict[str, Path]:
    """Every module of the package by its name below it; the package itself is the empty name."""
    found = {}
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def room_of(module: str) -> str | None:
    """The room with the longest name that a module's begins with; None where it has none."""
    if module == "" or module in GROUND_MODULES:
        return "ground"
    parts = module.split(".")
    names = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    room = next((name for name in names if name in ROOMS), None)
    return None if room == "archive" and module != "archive" else room


@cache
def statements(source: str) -> tuple[tuple[int, str, tuple[str, ...]], ...]:
    """Each import of a source, wherever in it: how many folders up, of which module, which names (none: all of it)."""
    found: list[tuple[int, str, tuple[str, ...]]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(0, alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or "", tuple(alias.name for alias in node.names)))
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in DYNAMIC:
            texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
            found += [(0, text.rstrip("."), ()) for text in texts if isinstance(text, str)]
    return tuple(found)


def imported(module: str, file: Path, known: dict[str, Path]) -> Iterator[str]:
    """Full names of what a module imports: what is a module of the package, or somebody else's."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    above = ["speedtest_logger", *filter(None, package.split("."))]
    for level, base, names in statements(file.read_text(encoding="utf-8")):
        of = ".".join(filter(None, [*above[: len(above) + 1 - level], base])) if level else base
        if not names:
            yield of
        for name in names:
            yield f"{of}.{name}" if ours(f"{of}.{name}") in known else of


def ours(name: str) -> str | None:
    """A name below the package; None for what is somebody else's."""
    return re.sub(r"^speedtest_logger\.?", "", name) if re.match(r"speedtest_logger(\.|$)", name) else None


def wrong_in(module: str, known: dict[str, Path]) -> list[str]:
    """What of one module is not as the floor plan has it: it has no room, or imports what its room may not have."""
    room = room_of(module)
    if room is None:
        return [f"{module} has no room"]
    allowed, found = ROOMS[room] | {room}, []
    for name in imported(module, known[module], known):
        other = ours(name)
        if other is None or other in allowed or any(other.startswith(f"{one}.") for one in allowed - set(ROOMS)):
            continue
        if room_of(other) not in allowed:
            found.append(f"{module} ({room}) imports {other}")
    return found


def wrong(package: Path) -> list[str]:
    """The same of all modules of a package."""
    known = modules(package)
    return [each for module in known for each in wrong_in(module, known)]


def test_every_module_has_a_room_and_imports_only_point_down():
    assert wrong(PACKAGE) == []


def test_every_room_has_modules():
    assert {room_of(module) for module in modules(PACKAGE)} == set(ROOMS)


def climbs() -> list[tuple[str, str]]:
    """Each room with each other one that it may not import."""
    return [(room, other) for room in ROOMS for other in ROOMS if other != room and other not in ROOMS[room]]


def first_of(room: str, known: dict[str, Path]) -> str:
    """A module of a room."""
    return next(module for module in known if room_of(module) == room and module)


@pytest.mark.parametrize("form", ["from {0} import {1}", "import {0}.{1}", "def late():\n    from {0} import {1} as x"])
def test_an_import_that_points_up_or_aside_is_found_in_every_room(form, tmp_path):
    package = tmp_path / "speedtest_logger"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    known = modules(package)
    assert len(climbs()) > 100
    for room, other in climbs():
        target = first_of(other, known)
        if target in ROOMS[room]:
            continue
        above, _, name = f"speedtest_logger.{target}".rpartition(".")
        module = first_of(room, known)
        before = known[module].read_text(encoding="utf-8")
        known[module].write_text(f"{before}\n{form.format(above, name)}\n", encoding="utf-8")
        found = wrong_in(module, known)
        known[module].write_text(before, encoding="utf-8")
        assert found == [f"{module} ({room}) imports {target}"], (room, other)
    assert wrong(package) == []


@pytest.mark.parametrize(
    "line",
    [
        "from ..read import dataset",
        "from .. import read",
        "import importlib\nimportlib.import_module('speedtest_logger.archive.read.sql')",
    ],
)
def test_relative_and_dynamic_imports_are_found_too(line, tmp_path):
    package = tmp_path / "speedtest_logger"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    file = package / "archive/write/store.py"
    file.write_text(f"{file.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    assert [
        found.startswith("archive.write.store (archive.write) imports archive.read") for found in wrong(package)
    ] == [True]


@pytest.mark.parametrize("place", ["new.py", "wing/__init__.py", "archive/new.py", "archive/wing/new.py"])
def test_a_module_without_a_room_is_found(place, tmp_path):
    package = tmp_path / "speedtest_logger"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / place).parent.mkdir(exist_ok=True)
    (package / place).touch()
    module = place.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    assert wrong(package) == [f"{module} has no room"]


def needed(start: list[str], known: dict[str, Path]) -> set[str]:
    """Modules of the package that some need, with the packages that they lie in, whenever they are imported."""
    waiting, found = list(start), set()
    while waiting:
        module = waiting.pop()
        if module in found or module not in known:
            continue
        found.add(module)
        parts = module.split(".")
        waiting += [
            ".".join(parts[:length]) for length in range(1, len(parts)) if ".".join(parts[:length]) != "archive"
        ]
        waiting += [other for name in imported(module, known[module], known) if (other := ours(name))]
    return found


@pytest.mark.parametrize("place", STANDARD_LIBRARY_ONLY)
def test_what_runs_on_a_node_and_what_receives_use_the_standard_library_only(place):
    known = modules(PACKAGE)
    start = [module for module in known if place in (module, room_of(module))]
    files = {module: known[module] for module in needed(start, known)}
    names = {name for module, file in files.items() for name in imported(module, file, known)}
    foreign = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert foreign <= {"speedtest_logger", "__future__"}
    assert len(files) > 1
