"""What the package of a node holds: the program, and the units and directories that the role speedtest_logger wants."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plugins.desired import speedtest_logger as role
from plugins.desired.things import UNIT_DIRECTORY, Thing
from plugins.lookup.release import LAUNCHER
from speedtest_logger.inventory import roles
from speedtest_logger.probes.catalogue import PROBES
from speedtest_logger.schedule import Schedule

ROOT = Path(__file__).resolve().parents[1]
SOURCE, SHARE, FILES = ROOT / "src/speedtest_logger", ROOT / "share", ROOT / "packages/files"
NAME = "speedtest-logger"
PROGRAM_DIR = role.PACKAGED
DOC_DIR = f"/usr/share/doc/{NAME}"
SYSTEMD = "/usr/lib/systemd/system"
GENERATOR = f"/usr/lib/systemd/system-generators/{NAME}"
ROOMS = ("engines", "node", "probes")  # beside the ground, which is the modules of no room
MODULES = {f"bin/{NAME}": "speedtest_logger.node.cli", "bin/unit-times": "speedtest_logger.node.unit_times"}
MANAGED, PACKAGED = f"# managed by Ansible: {role.ROLE}\n", f"# part of the package {NAME}\n"


@dataclass(frozen=True)
class File:
    """A file of the package, or a link where it has a target; `config`: what people change stays through upgrades."""

    path: str
    content: bytes = b""
    mode: int = 0o644
    to: str = ""
    config: bool = False


def values() -> dict[str, Any]:
    """The role's inputs for a node of no inventory: its defaults, and all that a unit may need allowed."""
    slots = {"interval_seconds": 3600, "offset_seconds": 0}
    units = {"probes": list(PROBES), "transport": "https"}  # echo requests, and a token to keep from who measures
    calendar = Schedule(3600, 0).on_calendar()
    inputs = {name.removeprefix(f"{role.ROLE}_"): default for name, default in roles.defaults(role.ROLE).items()}
    return {**inputs, **units, "slots": {**slots, "on_calendar": calendar}}


def names(v: dict[str, Any]) -> dict[str, Any]:
    """Places: one release, which is the package's."""
    return {**role.names(v), "current": PROGRAM_DIR}


def files(kind: str) -> list[File]:
    """All files of a package for dpkg (deb), rpm or apk, by their paths."""
    found = [*program(), *settings(), *command_line(kind)]
    found += openrc() if kind == "apk" else systemd()
    return sorted(found, key=lambda file: file.path)


def program() -> Iterator[File]:
    """The code of the node, what starts it, and what makes its key pair and its token."""
    for path in sorted([*SOURCE.glob("*.py"), *(each for room in ROOMS for each in (SOURCE / room).rglob("*.py"))]):
        yield File(f"{PROGRAM_DIR}/speedtest_logger/{path.relative_to(SOURCE).as_posix()}", path.read_bytes())
    for name, module in MODULES.items():
        yield File(f"{PROGRAM_DIR}/{name}", LAUNCHER.format(module=module, options="-IS").encode(), 0o755)
    for name, mode in (("key_pair.sh", 0o755), ("token.py", 0o644)):
        yield File(f"{PROGRAM_DIR}/bin/{name}", (ROOT / "roles" / role.ROLE / "files" / name).read_bytes(), mode)
    yield File(f"{PROGRAM_DIR}/identity", (FILES / "identity").read_bytes(), 0o755)
    yield File(f"/usr/bin/{NAME}", to=f"../lib/speedtest-telemetry/bin/{NAME}")


def settings() -> Iterator[File]:
    """logger.env, which is the owner's from then on."""
    yield File(f"{values()['config_dir']}/logger.env", (FILES / "logger.env").read_bytes(), 0o640, config=True)


def command_line(kind: str) -> Iterator[File]:
    """Manual page, completions, and where it says what may be set."""
    zsh = "vendor-completions" if kind == "deb" else "site-functions"
    yield File(f"/usr/share/man/man1/{NAME}.1.gz", packed((SHARE / f"man/man1/{NAME}.1").read_bytes()))
    for place, name in (
        ("bash-completion/completions", NAME),
        ("zsh/site-functions", f"_{NAME}"),
        ("fish/vendor_completions.d", f"{NAME}.fish"),
    ):
        yield File(f"/usr/share/{place.replace('site-functions', zsh)}/{name}", (SHARE / place / name).read_bytes())
    for name in ("docs/reference/settings.md", "docs/how-to/install-without-ansible.md"):
        yield File(f"{DOC_DIR}/{Path(name).name}", (ROOT / name).read_bytes())


def systemd() -> Iterator[File]:
    """Units, the account, directories, and the generator that puts the times of logger.env into the units."""
    v = values()
    n = names(v)
    for path, content in unit_files(v, n):
        yield File(path, content.encode())
    account = role.own_account(v).item
    line = f'u {account["name"]} {account["uid"]} "speedtest-telemetry" {account["home"]} {account["shell"]}\n'
    yield File(f"/usr/lib/sysusers.d/{NAME}.conf", (PACKAGED + line).encode())
    lines = [f"d {i['path']} {i['mode']} {i['owner']} {i['group']} -\n" for i in data(v, n)]
    yield File(f"/usr/lib/tmpfiles.d/{NAME}.conf", "".join([PACKAGED, *lines]).encode())
    yield File(GENERATOR, to="../../speedtest-telemetry/bin/unit-times")


def unit_files(v: dict[str, Any], n: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The role's units as a package has them."""
    for thing in role.units(v, n, systemd=True):
        if thing.kind == "files" and thing.when:
            name = thing.item["path"].removeprefix(UNIT_DIRECTORY)
            yield f"{SYSTEMD}/{name}", thing.item["content"].replace(MANAGED, PACKAGED)


def data(v: dict[str, Any], n: dict[str, Any]) -> list[dict[str, str]]:
    """The directories of the node's data, which no package holds: what lies in them is the node's."""
    wanted: list[Thing] = role.directories(v, n)
    return [thing.item for thing in wanted if thing.when and thing.item["path"].startswith("/var/")]


def openrc() -> Iterator[File]:
    """What Alpine has in systemd's place: a service that waits for the slots itself."""
    yield File(f"/etc/init.d/{NAME}", (FILES / "openrc").read_bytes(), 0o755)


def packed(content: bytes) -> bytes:
    """The same bytes whenever it is packed."""
    return gzip.compress(content, compresslevel=9, mtime=0)
