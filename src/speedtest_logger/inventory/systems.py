"""Which machines can be what: the operating systems that are supported, and the words for those that are not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

SUPPORTED = (
    "Debian 12 and 13, Raspberry Pi OS 12 and 13 (an archive host: 64 bit), Ubuntu 24.04 (22.04: a node or a target)"
)
# system, node, archive host, target, how that is known
TABLE = (
    (
        "Debian 12 (bookworm), amd64",
        "yes; no librespeed-cli package",
        "yes",
        "yes",
        "tested: every release, in the lab",
    ),
    ("Debian 13 (trixie), amd64", "yes", "yes", "yes", "tested: every release, in the lab"),
    (
        "Debian 13, arm64",
        "yes",
        "yes",
        "yes",
        "emulated: a node's programs (`make arm`); the rest expected: the same packages",
    ),
    ("Debian 12, arm64", "yes; no librespeed-cli package", "yes", "yes", "expected: the same packages"),
    (
        "Debian 13, armhf (armv7)",
        "yes",
        "no: no packages of duckdb and pyarrow",
        "yes",
        "emulated, by `make arm`: a node's programs; the rest expected",
    ),
    (
        "Raspberry Pi OS 12, 13, 64 bit",
        "yes",
        "yes",
        "yes",
        "expected: it calls itself Debian, and its packages are Debian's for arm64",
    ),
    (
        "Raspberry Pi OS 12, 13, 32 bit",
        "yes; no systems older than a Pi 2 were emulated",
        "no: no packages of duckdb and pyarrow",
        "yes",
        "expected",
    ),
    (
        "Ubuntu 24.04 (noble), amd64",
        "yes; no librespeed-cli package",
        "yes",
        "yes; iperf3 tested",
        "tested where a mirror has it, by `make ubuntu`; containers, front, database and the others expected",
    ),
    (
        "Ubuntu 22.04 (jammy), amd64",
        "yes; no librespeed-cli package",
        "no: Python 3.10",
        "yes",
        "tested as a node where a mirror has it, by `make ubuntu`; the target expected",
    ),
    ("Debian 11 and older", "no: Python 3.9", "no", "no", "refused"),
    ("Fedora, Alpine, Arch, … (no apt)", "no; by hand: Compose alone", "no", "no", "refused"),
)
DEBIAN = {"Debian": ("bookworm", "trixie")}
# Where each role was seen to work, as its meta/main.yml tells; those that are not named: on Debian alone.
SEEN_ON = {
    "managed_host": {**DEBIAN, "Ubuntu": ("jammy", "noble")},
    "speedtest_logger": {**DEBIAN, "Ubuntu": ("jammy", "noble")},
    "speedtest_target": {**DEBIAN, "Ubuntu": ("noble",)},
    "speedtest_archive": {**DEBIAN, "Ubuntu": ("noble",)},
    "speedtest_dashboard": {**DEBIAN, "Ubuntu": ("noble",)},
}
NODE, ARCHIVE, TARGET, STORE = "node", "archive host", "target", "object store"
CLUSTER, TIMESCALE = "cluster member", "server of TimescaleDB"
OLDEST_PYTHON = {
    NODE: (3, 10),
    ARCHIVE: (3, 11),
    TARGET: (3, 10),
    STORE: (3, 11),
    CLUSTER: (3, 11),
    TIMESCALE: (3, 11),
}
PACKAGES = {
    ARCHIVE: "duckdb and pyarrow have no packages",
    CLUSTER: "duckdb and pyarrow have no packages",
    STORE: "SeaweedFS has no package",
}
TIMESCALE_SYSTEM = ("debian", "13")
WHEELS = ("amd64", "arm64")  # what duckdb and pyarrow have packages for, in dpkg's names


def problem(seen: Mapping[str, object], uses: Iterable[str]) -> str | None:
    """Why a machine cannot be what it is to be, with what was seen of it; None where it can.

    `seen`: id, version_id (os-release(5)), architecture (dpkg's; empty without dpkg), python (empty without), systemd
    (its version; 0 or empty where it does not run the machine).
    """
    uses = list(uses)
    name = f"{seen.get('id') or 'an unknown system'} {seen.get('version_id') or ''}".strip()
    words = f"seen {name}, {seen.get('architecture') or 'without apt'}"
    if not seen.get("architecture"):
        return f"{words}; packages come from apt here: {SUPPORTED} are supported"
    if not int(str(seen.get("systemd") or 0)):
        return f"{words}; this machine does not run systemd, which is needed"
    python = str(seen.get("python") or "")
    if not python:
        return f"{words}, no python3; Ansible needs it there: `sudo apt install python3`"
    version = tuple(int(part) for part in python.split(".")[:2])
    for use in uses:
        oldest = OLDEST_PYTHON[use]
        if version < oldest:
            wanted = ".".join(map(str, oldest))
            return f"{words}, Python {python}; as {use} it needs {wanted} or newer: {SUPPORTED} are supported"
    missing = _missing(seen, uses)
    return f"{words}; {missing}" if missing else None


def _missing(seen: Mapping[str, object], uses: Iterable[str]) -> str | None:
    """What there is no package of for a machine; None where there are all."""
    for use in (each for each in PACKAGES if each in uses and seen["architecture"] not in WHEELS):
        return f"as {use} it needs 64 bit: {PACKAGES[use]} for {seen['architecture']}. It can be a {NODE} or a {TARGET}"
    if TIMESCALE in uses and (seen.get("id"), seen.get("version_id")) != TIMESCALE_SYSTEM:
        return (
            "TimescaleDB is a package of Debian 13 only: set speedtest_database_timescale_enabled: false, or name a "
            "server elsewhere by speedtest_database_dsn"
        )
    return None


def parsed(text: str) -> dict[str, str]:
    """What LOOK printed, as `problem` wants it."""
    return dict(line.strip().split("=", 1) for line in text.splitlines() if "=" in line)


# Run by the account's own shell on any machine, python3 or not.
LOOK = """/bin/sh -c '
if [ -r /etc/os-release ]; then . /etc/os-release; fi
echo "id=$ID"; echo "version_id=$VERSION_ID"
echo "architecture=$(dpkg --print-architecture 2>/dev/null)"
echo "python=$(/usr/bin/env python3 -c "import platform; print(platform.python_version())" 2>/dev/null)"
if [ -d /run/systemd/system ]; then echo systemd=1; fi'
"""
