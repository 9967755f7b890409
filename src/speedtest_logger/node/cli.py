"""The command line: argv to action to exit code. Nothing else prints results or exits."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from speedtest_logger import __version__, accounts, env_file, errors, files
from speedtest_logger.log import Log
from speedtest_logger.node import config
from speedtest_logger.usage import Help, add_verbs, exit_code_of

JUST_NOW_SECONDS = 10
UMASK = 0o027  # results are the owner's and the group's to read, whoever starts the program
EXIT_CODES = """exit codes:
  0  done: the record is ok, or the slot was skipped on purpose
  1  status, doctor or healthcheck found a problem
  2  the command line or the configuration is wrong
  3  the measurement failed or is partial; its record was kept
  4  the archive gave no receipt; nothing was released
  5  the disk could not be written
  7  a file may not be opened by this account: use sudo
"""
VERBS = {
    "measure": ("measure once, keep the record, exit", "speedtest-logger measure --json"),
    "push": ("deliver the outbox to the archive", "speedtest-logger push --force"),
    "probe": ("ask the targets of the probes once, keep the answers, exit", "speedtest-logger probe --now"),
    "status": ("show what this node last did and what waits", "speedtest-logger status --json"),
    "doctor": ("check everything that a measurement and a delivery need", "speedtest-logger doctor"),
    "loop": ("measure at every slot and deliver, until told to stop: a container's scheduler", "speedtest-logger loop"),
    "identity": (
        "print what the archive is told of this node, its public key or token's SHA-256; make one where there is none",
        "speedtest-logger identity",
    ),
    "healthcheck": ("say whether the last slot was accounted for", "speedtest-logger healthcheck"),
    "config": ("check or show the settings", "speedtest-logger config show"),
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="speedtest-logger",
        description=__doc__.splitlines()[0] if __doc__ else None,
        epilog=EXIT_CODES,
        formatter_class=Help,
    )
    top.description = "Measure this node's internet line, keep every result, deliver it."
    top.add_argument("--version", action="version", version=f"speedtest-logger {__version__}")
    top.add_argument(
        "--env-file",
        type=Path,
        help=f"settings; default $SPEEDTEST_ENV_FILE or {config.ENV_FILE}, unless SPEEDTEST_NODE is set",
    )
    made = add_verbs(top, VERBS)
    for name in VERBS:
        if name not in ("config", "loop"):
            made[name].add_argument("--json", action="store_true", help="print one JSON object")
    made["measure"].add_argument("--scheduled", action="store_true", help="a scheduler started this: no slot, no test")
    made["measure"].add_argument(
        "--deliver", action="store_true", help="push afterwards; exit 0 once there is a record, however both went"
    )
    made["measure"].add_argument("--wait", action="store_true", help="let a running measurement end first")
    made["probe"].add_argument("--now", action="store_true", help="show what they answer, keep nothing")
    made["push"].add_argument("--force", action="store_true", help="do not wait after earlier failures")
    what = made["push"].add_mutually_exclusive_group()
    what.add_argument(
        "--hello", action="store_true", help="deliver nothing, only check that the archive answers this node"
    )
    what.add_argument("--rejected", action="store_true", help="deliver again what the archive refused earlier")
    made["config"].add_argument("what", choices=["check", "show"])
    return top


def environment_with_file(file: Path | None, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment, with an env file's variables below it; the default file only where no settings are there yet."""
    default = Path(environment.get(config.PREFIX + "ENV_FILE") or config.ENV_FILE)
    if file is None and config.PREFIX + "NODE" in environment:
        return dict(environment)
    try:
        return {**env_file.read(file or default), **environment}
    except PermissionError as error:
        raise errors.NoAccessError(file or default, "read") from error
    except OSError as error:
        if file is None and isinstance(error, FileNotFoundError):
            return dict(environment)
        raise errors.ConfigError([f"{file or default}: {error.strerror}"]) from error


def act(args: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Load the settings, run the verb, print, and say the exit code."""
    environment = environment_with_file(args.env_file, environment)
    settings = config.load(environment)
    become_owner(settings.state_dir)
    actions = {
        "measure": run_measure,
        "push": run_push,
        "probe": run_probe,
        "status": run_status,
        "doctor": run_doctor,
        "loop": run_loop,
        "identity": run_identity,
        "healthcheck": run_healthcheck,
        "config": run_config,
    }
    return actions[args.verb](args, settings, environment)


def run_measure(args: argparse.Namespace, settings: config.Settings, environment: Mapping[str, str]) -> int:
    """Measure."""
    from speedtest_logger.node import measure

    timer, log = args.scheduled or started_by_timer(environment), Log(settings.log_file)
    try:
        record = measure.measure(settings, log, environment, timer=timer, wait=args.wait)
        if args.deliver:
            deliver(settings, log)
    finally:
        write_metrics(settings, log)
    if record is None:
        return errors.EXIT_OK
    if args.json:
        print(json.dumps(record.to_row()))
    elif not timer:
        from speedtest_logger.node import status

        print(status.in_words(settings, record.to_row()))
    return errors.EXIT_OK if args.deliver or record.status in ("ok", "skipped") else errors.EXIT_FAILED_MEASUREMENT


def deliver(settings: config.Settings, log: Log) -> None:
    """Push what waits; what cannot be delivered waits for the next measurement, which is rest enough."""
    from speedtest_logger.node import push

    try:
        push.push(settings, log, force=True)
    except (errors.SpeedtestError, OSError) as error:
        log.event("warning", "delivery_put_off", message=str(error))


def write_metrics(settings: config.Settings, log: Log) -> None:
    """Write the textfile for Prometheus, where one is wanted."""
    if settings.metrics_dir is not None:
        from speedtest_logger.node import metrics

        metrics.write(settings, settings.metrics_dir, log)


def started_by_timer(environment: Mapping[str, str]) -> bool:
    """Whether systemd's timer started this process just now (systemd >= 252, systemd.exec(5)).

    A later start by hand still carries the variables of the last start by timer: its time tells them apart.
    """
    triggered = environment.get("TRIGGER_TIMER_REALTIME_USEC", "")
    return triggered.isdigit() and abs(time.time() - int(triggered) / 1e6) < JUST_NOW_SECONDS


def become_owner(state_dir: Path) -> None:
    """As root, go on as the owner of what lies in the state directory.

    The service must be able to read and replace what is written by hand, ssh refuses root a key that its group may
    read, and what the service has put there must not be followed or obeyed with root's rights.
    """
    for directory in (state_dir / "state", state_dir):
        if files.kind_of(directory):
            accounts.become(accounts.owner_of(directory))
            return


def run_push(args: argparse.Namespace, settings: config.Settings, _: Mapping[str, str]) -> int:
    """Push."""
    from speedtest_logger.node import push

    log = Log(settings.log_file)
    if args.hello:
        said = push.hello(settings, log)
        print(json.dumps({"hello": said}) if args.json else said)
        return errors.EXIT_OK
    try:
        delivery = push.push(settings, log, force=args.force or args.rejected, rejected=args.rejected)
    finally:
        write_metrics(settings, log)
    if args.json:
        print(json.dumps(vars(delivery)))
    return errors.EXIT_OK


def run_probe(args: argparse.Namespace, settings: config.Settings, environment: Mapping[str, str]) -> int:
    """Probe."""
    from speedtest_logger.node import probe

    log = Log(settings.log_file)
    if not args.now:
        if probe.probe(settings, log, environment):
            write_metrics(settings, log)
        return errors.EXIT_OK
    found = probe.now(settings, environment)
    print(json.dumps([each.to_row() for each in found]) if args.json else probe.as_text(found))
    return errors.EXIT_UNHEALTHY if any(each.lost == each.sent for each in found) else errors.EXIT_OK


def run_status(args: argparse.Namespace, settings: config.Settings, _: Mapping[str, str]) -> int:
    """Status."""
    from speedtest_logger.node import status

    state = status.status(settings)
    print(json.dumps(state, indent=2) if args.json else status.as_text(settings, state))
    return errors.EXIT_UNHEALTHY if state["problems"] else errors.EXIT_OK


def run_doctor(args: argparse.Namespace, settings: config.Settings, environment: Mapping[str, str]) -> int:
    """Doctor."""
    from speedtest_logger.node import doctor

    findings = doctor.examine(settings, environment)
    if args.json:
        print(json.dumps([vars(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            print(f"{'ok  ' if finding.passed else 'FAIL'}  {finding.code:<22} {finding.text}")
    return errors.EXIT_OK if all(finding.passed for finding in findings) else errors.EXIT_UNHEALTHY


def run_loop(_: argparse.Namespace, settings: config.Settings, environment: Mapping[str, str]) -> int:
    """Loop."""
    from speedtest_logger.node import loop

    loop.loop(settings, Log(settings.log_file), environment)
    return errors.EXIT_OK


def run_identity(args: argparse.Namespace, settings: config.Settings, _: Mapping[str, str]) -> int:
    """Identity."""
    from speedtest_logger.node import identity

    public = identity.identity(settings)
    print(json.dumps({"node": settings.node, "identity": public}) if args.json else public)
    return errors.EXIT_OK


def run_healthcheck(args: argparse.Namespace, settings: config.Settings, _: Mapping[str, str]) -> int:
    """Healthcheck."""
    from speedtest_logger.node import status

    health = status.health(settings)
    print(json.dumps(health) if args.json else health["text"])
    return errors.EXIT_OK if health["healthy"] else errors.EXIT_UNHEALTHY


def run_config(args: argparse.Namespace, settings: config.Settings, _: Mapping[str, str]) -> int:
    """Config check and show: loading the settings was the check."""
    if args.what == "show":
        for name, value in vars(settings).items():
            if name not in config.EACH:
                print(f"{name} = {value}")
        for name, own in settings.engine.items():
            for option, value in vars(own).items():
                print(f"{name}.{option} = {value}")
        for name, asked in settings.probe.items():
            print(f"{name}.targets = {asked.targets}")
    return errors.EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parser().parse_args(argv)
    os.umask(UMASK)
    return exit_code_of("speedtest-logger", lambda: act(args, os.environ))
