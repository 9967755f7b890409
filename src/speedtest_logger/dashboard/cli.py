"""speedtest-dashboard's command line. Only `serve` imports the web framework."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

from speedtest_logger import __version__, accounts, domains, env_file, light
from speedtest_logger.archive.format.layout import Layout
from speedtest_logger.dashboard import keys, listed, users
from speedtest_logger.dashboard import settings as settings_
from speedtest_logger.dashboard.settings import PREFIX, Settings
from speedtest_logger.errors import (
    EXIT_OK,
    EXIT_UNHEALTHY,
    ConfigError,
    NoAccessError,
    UsageError,
)
from speedtest_logger.usage import add_verbs, exit_code_of

EXIT_CODES = """exit codes:
  0  done
  1  check found a problem; health: it does not answer, or what it shows is late
  2  the command line or the configuration is wrong
  5  the dashboard's own folder cannot be written
  7  a file may not be opened by this account: use sudo
"""
VERBS = {
    "serve": ("show an archive: pages, API, live updates", "speedtest-dashboard serve --root /srv/speedtest-archive"),
    "check": ("say whether settings and archive can be used", "speedtest-dashboard check"),
    "health": ("say what the dashboard that runs here says of itself", "speedtest-dashboard health"),
    "hash-password": ("make the hash of a password, for the users", "speedtest-dashboard hash-password"),
    "new-key": (
        "make a key for a program, and say what to write into the inventory",
        "speedtest-dashboard new-key --name prometheus --scopes metrics --expires 2027-12-31",
    ),
    "new-share": (
        "make a link to one location's page, and say what to write into the inventory",
        "speedtest-dashboard new-share --location home --expires 2027-12-31",
    ),
}
OPTIONS = {"bind": "BIND", "port": "PORT", "time_zone": "TIME_ZONE"}  # with the variables that they stand above


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="speedtest-dashboard",
        description="The fleet's measurements in a browser.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"speedtest-dashboard {__version__}")
    made = add_verbs(top, VERBS)
    for verb in ("serve", "check", "health"):
        add_settings(made[verb])
    made["check"].add_argument("--json", action="store_true", help="print one JSON object for each finding")
    made["new-key"].add_argument("--name", required=True, type=key_name, help="what uses it")
    made["new-key"].add_argument(
        "--scopes", required=True, type=scopes, help=f"with commas between them: {', '.join(keys.SCOPES)}"
    )
    made["new-share"].add_argument("--location", required=True, type=location, help="the place whose page it shows")
    for verb in ("new-key", "new-share"):
        made[verb].add_argument(
            "--expires", type=day, metavar="DATE", help="its last day (UTC); default: it never ends"
        )
    return top


def add_settings(verb: argparse.ArgumentParser) -> None:
    """The options that stand above the environment."""
    verb.add_argument("--env-file", type=Path, metavar="FILE", help="settings below those of the environment")
    verb.add_argument("--root", type=Path, metavar="FOLDER", help="the archive; default $SPEEDTEST_ARCHIVE_DIR")
    verb.add_argument("--state-dir", type=Path, metavar="FOLDER", help=f"the dashboard's own; default ${PREFIX}DIR")
    verb.add_argument("--bind", metavar="ADDRESS", help="default 127.0.0.1")
    verb.add_argument("--port", help="default 8000; 0: any that is free")
    verb.add_argument("--time-zone", metavar="ZONE", help="of days, such as Europe/Berlin; default UTC")


def key_name(text: str) -> str:
    """Argparse type: what a key is called."""
    try:
        return listed.text_of({"name": text}, "name", keys.LONGEST_NAME)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def scopes(text: str) -> list[str]:
    """Argparse type: scopes, each once."""
    found = [scope.strip() for scope in text.split(",")]
    if wrong := [scope for scope in found if scope not in keys.SCOPES]:
        raise argparse.ArgumentTypeError(f"'{wrong[0]}' is no scope: one of {', '.join(keys.SCOPES)}")
    return sorted(set(found), key=keys.SCOPES.index)


def location(text: str) -> str:
    """Argparse type: a location."""
    if domains.IDENTIFIER.problem(text):
        raise argparse.ArgumentTypeError(f"'{text}' is no location: {domains.IDENTIFIER.words()} are expected")
    return text


def day(text: str) -> str:
    """Argparse type: a day that is not over."""
    try:
        listed.expiry_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' is no day: write it like 2027-12-31") from error
    if text < datetime.now(timezone.utc).date().isoformat():
        raise argparse.ArgumentTypeError(f"{text} is over")
    return text


def settings_of(args: argparse.Namespace, environment: Mapping[str, str]) -> Settings:
    """The settings, as the account that may use them. Raises ConfigError."""
    variables = variables_of(args, environment)
    found = settings_.load(variables)
    if args.root:
        found = replace(found, archive_dir=args.root.absolute())
    if args.state_dir:
        found = replace(found, state_dir=args.state_dir.absolute())
    become_account(found)
    chosen = args.state_dir or variables.get(PREFIX + "DIR")
    return found if chosen else settings_.with_usable_state_dir(found, environment)


def variables_of(args: argparse.Namespace, environment: Mapping[str, str]) -> dict[str, str]:
    """Options above the environment, that above the file. Raises ConfigError."""
    try:
        below = env_file.read(args.env_file) if args.env_file else {}
    except PermissionError as error:
        raise NoAccessError(args.env_file, "read") from error
    except (OSError, ValueError) as error:
        raise ConfigError([f"{args.env_file}: {getattr(error, 'strerror', None) or error}"]) from error
    said = {PREFIX + variable: getattr(args, name) for name, variable in OPTIONS.items()}
    return {**below, **environment, **{name: value for name, value in said.items() if value is not None}}


def become_account(settings: Settings) -> None:
    """As root, go on as the account whose the dashboard's folder is, or else the archive: root's rights are not needed.

    Raises ConfigError where there is no archive.
    """
    archive = Layout(settings.archive_dir).archive
    try:
        owners = [accounts.owner_of(archive)]
        if settings.state_dir.is_dir():
            owners.append(accounts.owner_of(settings.state_dir))
    except PermissionError as error:
        raise NoAccessError(error.filename, "read") from error
    except OSError as error:
        what = f"{settings.archive_dir} is not an archive: name its folder with SPEEDTEST_ARCHIVE_DIR or --root"
        raise ConfigError([what]) from error
    accounts.become(next((owner for owner in reversed(owners) if owner.uid), owners[0]))


def serve(args: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Until told to stop."""
    settings = settings_of(args, environment)
    settings_.make_state_dir(settings.state_dir)
    from speedtest_logger.dashboard import server

    def tell(address: str) -> None:
        print(f"{settings.title}: {address}  (Ctrl+C ends it; its own folder: {settings.state_dir})", flush=True)

    server.serve(settings, tell)
    return EXIT_OK


def check(args: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Settings, their files, and the archive."""
    from speedtest_logger.dashboard.check import examine

    findings = examine(settings_of(args, environment))
    for finding in findings:
        print(
            json.dumps(vars(finding))
            if args.json
            else f"{'ok  ' if finding.passed else 'FAIL'}  {finding.code:<8} {finding.text}"
        )
    return EXIT_OK if all(finding.passed for finding in findings) else EXIT_UNHEALTHY


def health(args: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """What /health answers, as one JSON object."""
    from speedtest_logger.dashboard import health as asking

    said = asking.ask(settings_.load(variables_of(args, environment)))
    print(json.dumps(said))
    return EXIT_OK if said["status"] == "healthy" else EXIT_UNHEALTHY


def hash_password(_: argparse.Namespace, __: Mapping[str, str]) -> int:
    """Ask twice at a terminal; elsewhere read one line."""
    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if password != getpass.getpass("The same again: "):
            raise UsageError("these are two different passwords")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    print(users.hash_of(password))
    return EXIT_OK


def new_key(args: argparse.Namespace, _: Mapping[str, str]) -> int:
    """The key is shown this once."""
    identity, key = keys.new_key()
    entry = {"name": args.name, "id": identity, "sha256": keys.sha256(key), "scopes": args.scopes}
    tell_secret("The key, which is shown only now", key, "speedtest_dashboard_keys", {**entry, "expires": args.expires})
    return EXIT_OK


def new_share(args: argparse.Namespace, _: Mapping[str, str]) -> int:
    """The link is shown this once."""
    token = keys.new_token()
    entry = {"location": args.location, "sha256": keys.sha256(token), "expires": args.expires}
    tell_secret("The link, which is shown only now", f"/share/{token}", "speedtest_dashboard_shares", entry)
    return EXIT_OK


def tell_secret(what: str, secret: str, variable: str, entry: dict[str, object]) -> None:
    """The secret alone on standard output, for a pipe; what is to be written down beside it on standard error."""
    print(f"{what}:\n", file=sys.stderr)
    print(secret, flush=True)
    lines = [
        f"{'- ' if not number else '  '}{name}: {json.dumps(value)}"
        for number, (name, value) in enumerate(entry.items())
    ]
    print("\nInventory, which tells nobody the secret:\n", file=sys.stderr)
    print("\n".join([f"{variable}:", *(f"  {line}" for line in lines)]), file=sys.stderr)


ACTIONS = {
    "serve": serve,
    "check": check,
    "health": health,
    "hash-password": hash_password,
    "new-key": new_key,
    "new-share": new_share,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    args = parser().parse_args(argv)
    os.umask(0o077)
    if argv is None:  # a process of its own
        light.start(*light.STORES)  # it reads folders only
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # which gives back: 17 MB
        os.environ.setdefault("DUCKDB_JE_MALLOC_CONF", "narenas:1")  # of its own allocator, for all threads: 7 MB
    try:
        return exit_code_of("speedtest-dashboard", lambda: ACTIONS[args.verb](args, os.environ))
    except KeyboardInterrupt:
        return EXIT_OK
