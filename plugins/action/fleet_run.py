"""Be the only run that changes the fleet, and read what the archive host holds of it, in one remote call.

The lock is given back by the callback plugin of the same name when all plays have ended, however they ended.
"""

from __future__ import annotations

import functools
import getpass
import hashlib
import json
import os
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ansible import constants as C  # noqa: N812  (Ansible's own name for it)
from ansible import context

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from plugins.remote import RemoteProgram

LEASE_SECONDS = 3600  # how long a lock counts without a sign of life, seen from another machine
RENEWED_ENOUGH_SECONDS = 300  # a run that has just shown a sign of life needs no call for another one
POLL_SECONDS = 5
FOLDER = "/run/speedtest-fleet"  # as the module has it
LOCK = "lock"
HELD = "another run changes this fleet: {who} (process {pid}) since {since}, {what}, last sign of life {renewed_at}"
WAYS_OUT = (
    "wait for it (-e speedtest_lock_wait_seconds=600 does), or, if you know that it has ended, take its lock "
    "(-e speedtest_break_lock=true)"
)


def text_of(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def start_of(pid: int) -> str:
    """When a process started, in whatever words this machine has for it; empty where there is no such process."""
    if Path("/proc/self/stat").exists():
        return text_of(f"/proc/{pid}/stat").rpartition(")")[2].split()[19] if text_of(f"/proc/{pid}/stat") else ""
    done = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip()


@functools.cache
def this_run(pid: int) -> dict[str, Any]:
    """Who runs: `pid` is ansible-playbook's own process, whose children the actions are."""
    try:
        pids = os.readlink("/proc/self/ns/pid")
    except OSError:
        pids = ""
    me = {
        "who": f"{os.environ.get('SUDO_USER') or getpass.getuser()}@{socket.gethostname()}",
        "machine": f"{socket.gethostname()} {text_of('/etc/machine-id')}",
        "boot": text_of("/proc/sys/kernel/random/boot_id"),
        "pids": pids,
        "pid": pid,
        "start": start_of(pid),
        "what": command(),
    }
    return {**me, "run": hashlib.sha256(repr(sorted(me.items())).encode()).hexdigest()[:32]}


def command() -> str:
    """Which playbooks this run is of, and its limit."""
    names = " ".join(os.path.basename(name) for name in context.CLIARGS.get("args", ()))
    limit = context.CLIARGS.get("subset")
    return names + (f" --limit {limit}" if limit else "")


def has_ended(lock: dict[str, Any], me: dict[str, Any]) -> bool:
    """Whether a lock's run is known to be over: it was one of this machine, and its process is gone."""
    if lock.get("machine") != me["machine"]:
        return False
    if lock.get("boot") != me["boot"]:
        return True
    return lock.get("pids") == me["pids"] and start_of(int(lock.get("pid", 0))) != lock.get("start")


def memo() -> Path:
    """A file beside the temporary files of this run, which all its processes share and nobody after it."""
    return Path(C.DEFAULT_LOCAL_TMP) / "fleet-lock"


def renewed_ago() -> float | None:
    """Seconds since this run has taken or renewed the lock; None where it does not hold it."""
    try:
        return time.time() - memo().stat().st_mtime
    except OSError:
        return None


def refusal(lock: dict[str, Any], renewing: bool) -> str:
    """Why this run must not go on, empty where it may."""
    if lock["done"] != "refuse":
        return ""
    holder = HELD.format(**lock["before"])
    if renewing:
        return f"this run has lost its lock, {holder}. This one stops here: run it again."
    return f"{holder}. Nothing was touched: {WAYS_OUT}."


class ActionModule(RemoteProgram):
    """`lock`: take or renew the lock; `read`: files to read; see the module."""

    def run(self, tmp: Any = None, task_vars: Any = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        wanted = bool(self._task.args.get("lock")) and not self._task.check_mode
        ago, reads = renewed_ago(), self._task.args.get("read", [])
        if not reads and (not wanted or (ago is not None and ago < RENEWED_ENOUGH_SECONDS)):
            return {**result, "changed": False, "skipped_call": True}
        seen = self.ask(wanted, ago is not None, reads, task_vars)
        if seen.get("failed") or seen.get("unreachable"):
            return {**result, **seen}
        if words := refusal(seen["lock"], ago is not None):
            return {**result, "failed": True, "refused": True, "msg": words}
        return {**result, **seen, **self.taken(seen["lock"])}

    def ask(self, wanted: bool, renewing: bool, reads: list[Any], task_vars: Any) -> dict[str, Any]:
        """The module's answer, asked again while it refuses and there is time to wait."""
        options = self._task.args
        me = {**this_run(os.getppid()), "lease": LEASE_SECONDS + int(options.get("longer_seconds", 0))}
        # a lock that this run has lost is not taken back from the run that has it now
        force = bool(options.get("break_lock")) and not renewing
        request = {"take": wanted, "me": me, "force": force, "read": reads}
        deadline = time.monotonic() + (0 if renewing else int(options.get("wait_seconds", 0)))
        while True:
            seen: dict[str, Any] = self.ask_host("fleet_run", request, task_vars)
            lock = seen.get("lock", {})
            if lock.get("done") != "refuse":
                return seen
            if not renewing and has_ended(lock["before"], me):
                request["gone"] = lock["before"]["run"]
            elif time.monotonic() > deadline:
                return seen
            else:
                words = HELD.format(**lock["before"]).partition(", last sign")[0]
                self._display.warning(f"{words}: this one waits")  # Ansible says the same words once only
                time.sleep(POLL_SECONDS)

    def taken(self, lock: dict[str, Any]) -> dict[str, Any]:
        """Remember a lock that this run has now, and how it is given back."""
        if lock["done"] in ("take", "renew", "take over"):
            memo().write_text(json.dumps(self.farewell()), encoding="utf-8")
        if lock["done"] == "take over":
            before = HELD.format(**lock["before"]).removeprefix("another run changes this fleet: ")
            return {"warnings": [f"the lock of {before} was taken over: {lock['why']}"]}
        return {}

    def farewell(self) -> list[str]:
        """The command line that gives the lock back; empty where this way of connecting is not known here."""
        run = this_run(os.getppid())["run"]
        command = f"cd {FOLDER} && flock . /bin/sh -c '! grep -qF {run} {LOCK} || rm {LOCK}'"
        link, line = self._connection, f"/bin/sh -c {shlex.quote(command)}"
        if link.become:
            line = link.become.build_become_command(line, link._shell)
        if link.transport == "local":
            return ["/bin/sh", "-c", line]
        try:
            words = link._build_command(link.get_option("ssh_executable"), "ssh", link.host, line)
        except (AttributeError, KeyError, TypeError):
            return []
        plain = [word.decode() if isinstance(word, bytes) else word for word in words]
        return [] if "sshpass" in plain[0] else plain
