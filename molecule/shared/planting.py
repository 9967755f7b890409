"""Service accounts in a stranger's hands: what they plant, what root's commands do then, and what changed outside."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from fleet import ROOT, attempt, on, started

from speedtest_logger.archive import cli as archive_cli
from speedtest_logger.node import cli

PROGRAMS = Path(__file__).resolve().parent / "programs"
PLACE = "/usr/local/lib/speedtest-tests"
BEFORE = "/run/fingerprint.json"
CONTAINER = "speedtest-logger"
SECRET = "planted-secret-of-root-93ba"  # in a file of root's that planted links lead to
LIMIT_SECONDS = 240  # who hangs does so for ever; the machine has other work
PLAY_SECONDS = 600
TIMED_OUT = 124
KILLED = (TIMED_OUT, 137)
# what a run that upgrades or removes changes by right
OURS = re.compile(
    r"/opt/speedtest|/etc/speedtest|/etc/systemd/system(/.*)?(/speedtest-|$)|/etc/systemd/system/[a-z.-]+\.wants "
    r"|/usr/local/bin(/speedtest-| )|/etc/(passwd|group|shadow|gshadow|subuid|subgid)-? |/etc/ssh/sshd_config\.d"
    r"|/etc/tmpfiles\.d|/etc/(ld\.so\.cache|\.pwd\.lock)? "
)


Said = dict[tuple[str, str], tuple[int, str]]  # (host, command): how it ended, what it said


@dataclass
class Round:
    """What was planted by host, how each command of root's ended and what it said, and what changed outside."""

    planted: dict[str, list[str]]
    said: Said = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)


def prepare(hosts: list[str]) -> None:
    """Bring the programs, and the secret that planted links lead to."""
    for host in hosts:
        on(host, f"mkdir -p {PLACE} && echo {SECRET} > /root/secret && chmod 0600 /root/secret")
        for program in PROGRAMS.glob("*.py"):
            on(host, f"cat > {PLACE}/{program.name} <<'END_OF_PROGRAM'\n{program.read_text()}\nEND_OF_PROGRAM")


def words() -> list[str]:
    """Names that the programs make or look for: each text that their source puts after a folder with `/`."""
    found: set[str] = set()
    for file in (ROOT / "src/speedtest_logger").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and isinstance(node.right, ast.Constant):
                found.add(str(node.right.value))
    return sorted(word for word in found if re.fullmatch(r"\.?[A-Za-z0-9][A-Za-z0-9._-]*", word))


def accounts(host: str) -> list[str]:
    """The service accounts of a host."""
    return re.findall(r"^(speedtest[a-z-]*):", on(host, "getent passwd"), re.MULTILINE)


def plant(hosts: list[str], depth: str, kind: str, *, but: str = "") -> dict[str, list[str]]:
    """Let every service account, but one, plant at every name that it can; the paths by host."""
    argv = shlex.join(["plant", depth, kind, *words()])
    return {
        host: [path for name in accounts(host) if name != but for path in as_account(host, name, argv).split()]
        for host in hosts
    }


def undo(hosts: list[str]) -> None:
    """Put everything back."""
    for host in hosts:
        for account in reversed(accounts(host)):
            as_account(host, account, "undo")


def as_account(host: str, account: str, argv: str) -> str:
    """Run plant.py as a service account, in its container where it has one; returns what it printed."""
    inside = f"docker exec --interactive {CONTAINER} python3 -"
    contained = attempt(host, f"command -v docker >/dev/null && {inside} </dev/null").returncode == 0
    runner = inside if contained else f"runuser -u {account} -- python3 -"
    return on(host, f"{runner} {argv} < {PLACE}/plant.py")


def a_round(depth: str, kind: str, commands: dict[str, list[str]], plays: dict[str, list[str]]) -> Round:
    """Plant, let root run everything, put it back."""
    hosts = list(commands)
    prepare(hosts)
    keep_fingerprint(hosts)
    found = Round(plant(hosts, depth, kind))
    try:
        found.said = as_root(commands, plays)
        found.changed = changed_outside(hosts)
    finally:
        undo(hosts)
    print(summary(found.said))
    return found


def keep_fingerprint(hosts: list[str]) -> None:
    """Remember what lies outside the services' directories."""
    for host in hosts:
        on(host, f"python3 {PLACE}/fingerprint.py keep {BEFORE}")


def changed_outside(hosts: list[str], *, but_ours: bool = False) -> list[str]:
    """What changed there since; `but_ours` leaves out what a role has a right to change."""
    found = [
        f"{host}: {line}"
        for host in hosts
        for line in on(host, f"python3 {PLACE}/fingerprint.py compare {BEFORE}").splitlines()
    ]
    return [line for line in found if not (but_ours and OURS.match(line.partition(": ")[2]))]


def logger_commands() -> list[str]:
    """Every verb of speedtest-logger as its help shows it, but the one that never ends."""
    return [example for verb, (_, example) in cli.VERBS.items() if verb != "loop"]


def archive_commands(month: str) -> list[str]:
    """Every verb of speedtest-archive as its help shows it, and a month back from the backup."""
    shown = [example for verb, (_, example) in archive_cli.VERBS.items() if verb != "restore"]
    return [
        *shown,
        "speedtest-archive restore --file " + shlex.quote(month),
        "systemctl start speedtest-backup.service",
    ]


def as_root(commands: dict[str, list[str]], plays: dict[str, list[str]] | None = None) -> Said:
    """Run commands on their hosts as root, and playbooks meanwhile, one after another each; all have a time limit."""

    def here() -> Said:
        return {("control", name): ended(timed(name, options)) for name, options in plays.items()}

    def there(host: str) -> Said:
        limited = {command: f"timeout --kill-after=5 {LIMIT_SECONDS} {command}" for command in commands[host]}
        return {(host, command): ended(attempt(host, line)) for command, line in limited.items()}

    with ThreadPoolExecutor() as pool:
        running = [pool.submit(there, host) for host in commands] + ([pool.submit(here)] if plays else [])
        return {where: how for future in running for where, how in future.result().items()}


def timed(name: str, options: list[str]) -> subprocess.CompletedProcess[str]:
    """A playbook that is killed where it takes too long, and ends with 124 then, as timeout(1) does."""
    with started(name, *options) as process:
        try:
            said = process.communicate(timeout=PLAY_SECONDS)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return subprocess.CompletedProcess(name, TIMED_OUT, process.communicate()[0])
    return subprocess.CompletedProcess(name, process.returncode, said)


def ended(done: subprocess.CompletedProcess[str]) -> tuple[int, str]:
    return done.returncode, done.stdout


def names_a_path(text: str, planted: list[str]) -> bool:
    """Whether a text names a path that was planted, whole or by its last two parts; line breaks do not count."""
    told = " ".join(text.split())
    return any(path in told or "/".join(Path(path).parts[-2:]) in told for path in planted)


def tells(text: str) -> list[str]:
    """What of root's only a text holds: its own secret, or a line of /etc/shadow."""
    return [found[0] for found in (re.search(pattern, text) for pattern in (SECRET, r"root:[*!$][^ ]*:\d+:")) if found]


def summary(said: Said) -> str:
    """One line per command: how it ended and the end of what it said."""
    return json.dumps(
        {f"{host}: {command}": (code, text.strip()[-160:]) for (host, command), (code, text) in said.items()}, indent=1
    )
