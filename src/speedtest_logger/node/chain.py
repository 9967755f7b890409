"""The ordered chain of engines and servers: the first that answers wins.

A server that is testing with somebody else is left for the next one, and asked again while nothing else answers.
An engine that is rate limited rests for 15 minutes, then twice as long each time, up to 2 hours, and is not asked
meanwhile. One that failed in another way while a later engine answered rests likewise, but is asked again at once when
nothing else answers: on an outage every slot tries everything.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from speedtest_logger import engines
from speedtest_logger.engines.catalogue import ENGINES
from speedtest_logger.engines.contract import Command, Engine, Job, Output, Result, server_host
from speedtest_logger.engines.reasons import found_nobody, is_between_tests, is_busy
from speedtest_logger.errors import EngineError
from speedtest_logger.log import Log
from speedtest_logger.node import network
from speedtest_logger.node.config import PREFIX, EngineSettings, Settings
from speedtest_logger.node.process import run
from speedtest_logger.node.spool import Spool

REST_SECONDS = 15 * 60
LONGEST_REST_SECONDS = 2 * 3600
VERSION_TIMEOUT = 20.0
BUSY_WAIT_SECONDS = 5
BETWEEN_TESTS_SECONDS = 1  # that a server may take to end the test before
MOST_AGAIN = 3
ALLOW = "SPEEDTEST_OWN_SERVER_ALLOWED"
QUICK_SECONDS = 5  # a server that says no answers sooner; one that is away costs no more time than one try


@dataclass
class Answer:
    """What an engine answered; `raw` is its output as it came."""

    engine: str
    version: str
    attempt: int
    result: Result
    raw: bytes


def measure(settings: Settings, spool: Spool, log: Log, environment: Mapping[str, str]) -> Answer:
    """Try engines and servers in order. Raises the first engine's EngineError where none answers."""
    deadline = time.monotonic() + settings.measure_timeout_seconds
    rests = spool.read_state("rests") or {}
    errors: dict[str, EngineError] = {}
    busy: set[tuple[str, str | None]] = set()
    attempt = 0
    for name, server in tries(settings, rests, busy, deadline):
        if time.monotonic() >= deadline:
            errors.setdefault(name, EngineError("engine_timeout", "no time was left for this try"))
            break
        if name in errors and errors[name].reason in ("engine_missing", "rate_limited", "licence_not_accepted"):
            continue
        attempt += 1
        try:
            answer = try_once(settings, spool, environment, (name, server), deadline)
        except EngineError as error:
            error = explain(error, server)
            log.event("warning", "try_failed", engine=name, server=server, reason=error.reason, message=str(error))
            errors[name] = error
            if error.reason == "server_busy":
                busy.add((name, server))
            continue
        answer.attempt = attempt
        remember(spool, rests, errors, answered=name)
        return answer
    remember(spool, rests, {n: e for n, e in errors.items() if e.reason == "rate_limited"}, answered=None)
    raise first_error(settings, errors)


def explain(error: EngineError, server: str | None) -> EngineError:
    """dns_failed where an engine spoke of the server but its name is the trouble (iperf3 3.12, librespeed-cli)."""
    if error.reason not in ("engine_error", "server_unreachable") or server is None or server.isdigit():
        return error
    host = server_host(server)
    return error if network.resolves(host) else EngineError("dns_failed", f"{host} cannot be resolved ({error})")


def plan(settings: Settings, rests: dict[str, dict[str, float | str]]) -> Iterator[tuple[str, str | None]]:
    """Pairs of engine and server (None: the engine chooses): those that rest come last, rate-limited ones never."""
    now = time.time()
    left = {name: float(rests.get(name, {}).get("until", 0)) - now for name in settings.engines}
    resting = [name for name in left if 0 < left[name] <= LONGEST_REST_SECONDS]  # a clock set back ends a rest
    later = [name for name in resting if rests[name].get("reason") != "rate_limited"]
    for name in [name for name in settings.engines if name not in resting] + later:
        own = settings.engine[name]
        allowed: list[str | None] = [server for server in own.servers if server not in own.blocked_servers]
        for server in allowed or ([] if own.servers else [None]):
            yield name, server


def tries(
    settings: Settings, rests: dict[str, dict[str, float | str]], busy: set[tuple[str, str | None]], deadline: float
) -> Iterator[tuple[str, str | None]]:
    """The plan; then those of it that the caller found busy, again and again while there is time for a test."""
    pairs = list(plan(settings, rests))
    yield from pairs
    while busy and deadline - time.monotonic() > BUSY_WAIT_SECONDS + 2 * settings.duration_seconds:
        time.sleep(BUSY_WAIT_SECONDS)
        pairs = [pair for pair in pairs if pair in busy]
        busy.clear()
        yield from pairs


def first_error(settings: Settings, errors: dict[str, EngineError]) -> EngineError:
    """The error of the first engine of the chain that was asked; the others' reasons stand behind it."""
    asked = [name for name in settings.engines if name in errors]
    if not asked:
        return EngineError(
            "rate_limited", "every engine of the chain waits after a rate limit, or its servers are blocked"
        )
    first, *others = (f"{name}: {errors[name]}" for name in asked)
    return EngineError(errors[asked[0]].reason, "; ".join([first, *others]))


def remember(
    spool: Spool, rests: dict[str, dict[str, float | str]], errors: dict[str, EngineError], answered: str | None
) -> None:
    """Let engines that failed rest; the one that answered is well again, whatever its earlier tries said."""
    before = dict(rests)
    rests.pop(answered or "", None)
    for name, error in errors.items():
        if name == answered:
            continue
        seconds = min(2 * float(rests.get(name, {}).get("seconds", REST_SECONDS / 2)), LONGEST_REST_SECONDS)
        rests[name] = {"until": time.time() + seconds, "seconds": seconds, "reason": error.reason}
    if rests != before:
        spool.write_state("rests", rests)


def try_once(
    settings: Settings, spool: Spool, environment: Mapping[str, str], choice: tuple[str, str | None], deadline: float
) -> Answer:
    """One engine, one server."""
    name, server = choice
    if (licence := ENGINES[name].licence) and not getattr(settings, licence.setting):
        variable = f"{PREFIX}{licence.setting.upper()}"
        raise EngineError("licence_not_accepted", f"{licence.owner}'s licence is not accepted: {variable}")
    refuse_own(settings, server)
    engine, own = engines.get(name), settings.engine[name]
    with tempfile.TemporaryDirectory(prefix="speedtest-") as home:
        clean = {"PATH": environment.get("PATH", os.defpath), "HOME": home, "LC_ALL": "C.UTF-8", "TMPDIR": home}
        version = identify(spool, engine, own, clean)
        job = Job(
            own.program,
            server,
            own.blocked_servers,
            own.extra_args,
            settings.duration_seconds,
            settings.source_interface,
            settings.source_address,
            settings.ip_family,
            version,
        )
        outputs = run_all(engine.commands(job), clean, deadline, settings.duration_seconds)
    return Answer(name, version, 0, engine.parse(outputs), own_words(outputs))


def refuse_own(settings: Settings, server: str | None) -> None:
    """Raise EngineError for a server on this machine: its test would say how fast the machine is, not the line."""
    if settings.own_server_allowed or server is None or server.isdigit():
        return
    if network.is_own(server_host(server)):
        words = "is this machine itself: what goes there never reaches the line"
        raise EngineError("engine_error", f"{server} {words}; name a server elsewhere, or allow it: {ALLOW}=true")


def run_all(commands: list[Command], environment: Mapping[str, str], deadline: float, duration: int) -> list[Output]:
    """One measurement's commands. Where the server cannot take a later one yet, that waits."""
    outputs: list[Output] = []
    for command in commands:
        outputs.append(ask(command, environment, deadline))
        if outputs[0].returncode != 0 or is_busy(outputs[0]) or is_between_tests(outputs[0]):
            break  # the chain tries another server, and a busy one once more
        again = 0
        while (wait := _wait(outputs, again)) and deadline - time.monotonic() > wait + duration:
            time.sleep(wait)
            outputs[-1] = run(command, max(1.0, deadline - time.monotonic()), environment)
            again += 1
    return outputs


def _wait(outputs: list[Output], again: int) -> float:
    """Seconds until the last command is worth another try, after so many; 0 where it is not, or need not be."""
    if is_busy(outputs[-1]):  # another node took the server meanwhile
        return BUSY_WAIT_SECONDS
    if again < MOST_AGAIN and is_between_tests(outputs[-1]):
        return BETWEEN_TESTS_SECONDS
    return 0


def ask(command: Command, environment: Mapping[str, str], deadline: float) -> Output:
    """Run a command, and what there is instead of it as long as nobody is found, and that quickly."""
    began = time.monotonic()
    output = run(command, max(1.0, deadline - began), environment)
    for other in command.instead:
        if not found_nobody(output) or time.monotonic() - began > QUICK_SECONDS:
            break
        output = run(other, max(1.0, deadline - time.monotonic()), environment)
    return output


def own_words(outputs: list[Output]) -> bytes:
    """What an engine said; a JSON array where it was asked more than once (iperf3: download, then upload)."""
    said = b",".join(output.stdout for output in outputs)
    return said if len(outputs) == 1 else b"[" + said + b"]"


def identify(spool: Spool, engine: Engine, own: EngineSettings, environment: Mapping[str, str]) -> str:
    """The program's version; asked once for each file, since some take as long to say it as to start a test.

    Raises EngineError engine_missing for no program, or another one under its name.
    """
    import shutil

    path = shutil.which(own.program, path=environment["PATH"])
    if path is None:
        raise EngineError("engine_missing", f"there is no program '{own.program}'")
    stat = os.stat(path)
    key = f"{os.path.realpath(path)} {stat.st_size} {stat.st_mtime_ns}"
    known = spool.read_state("versions") or {}
    if key not in known:
        output = run(Command([path, "--version"]), VERSION_TIMEOUT, environment)
        version = engine.version_of(output.text.strip())
        if version is None:
            raise EngineError("engine_missing", f"'{path}' is another program: it says {output.text.strip()[:80]!r}")
        version = version[:100]
        known = {**{k: v for k, v in known.items() if os.path.exists(k.split(" ")[0])}, key: version}
        spool.write_state("versions", known)
    return str(known[key])
