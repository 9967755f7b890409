"""speedtest-converge: a node fetches what it shall be, and is that."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plugins.converge import bundle, carry_out, enrol, fetch, leave, state
from plugins.converge.bundle import RefusedError
from plugins.converge.fetch import UnreachableError
from plugins.converge.programs import FailedError
from speedtest_logger import invitation
from speedtest_logger.errors import SpeedtestError
from speedtest_logger.files import open_lock, read_bounded

CONFIGURATION = Path("/etc/speedtest-converge")
BUNDLE_SECONDS, ARTIFACT_SECONDS = 120, 2700  # an image of 100 MB over a line of 0.5 Mbit/s takes 27 minutes
DONE, REFUSED, FAILED, UNREACHABLE = 0, 1, 3, 4
EXIT_CODES = """exit codes:
  0  the node is as its bundle says
  1  the bundle was refused; nothing was changed
  2  the command line is wrong
  3  something could not be done; the next run tries again
  4  nothing could be fetched, or another run is under way"""


@dataclass(frozen=True)
class Node:
    """Where a node's bundle comes from, who signs it, and where it remembers what it has taken."""

    name: str
    url: str
    signers: Path
    state: Path

    def serve(self, name: str, most_bytes: int) -> Iterator[bytes]:
        """A file from where bundles are served, in parts."""
        return fetch.served(self.url, name, most_bytes, ARTIFACT_SECONDS)


def configured(folder: Path, remembered: Path) -> Node:
    """The node as its configuration has it. Raises RefusedError."""
    file = folder / "pull.json"
    try:
        said = json.loads(read_bounded(file, 10_000))
        return Node(str(said["node"]), str(said["url"]), folder / "allowed_signers", remembered)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RefusedError(f"{file} cannot be read: {error}") from error


def converge(node: Node, *, check: bool = False) -> dict[str, Any]:
    """One run; what is remembered of it. Raises RefusedError, FailedError, UnreachableError, OSError."""
    known = state.read(node.state)
    content = fetch.fetched(node.url, bundle.file_name(node.name), bundle.MOST_BYTES, BUNDLE_SECONDS)
    new = bundle.opened(content, node.signers)
    bundle.check_turn(new, node.name, known["accepted"], time.time())
    differs = carry_out.drift(new)
    if check:
        return {**known, "drift": differs}
    known = {**known, "accepted": new.serial}
    state.write(node.state, known)
    if new.leaves:
        return left(node, new, known)
    done = carry_out.carried_out(new, node.serve) if differs else []
    known.pop("leaving", None)  # it stays after all
    return {**known, "applied": new.serial, "version": new.version, "changed": len(done), "done": done}


def left(node: Node, bundle: bundle.Bundle, known: dict[str, Any]) -> dict[str, Any]:
    """The node is one no more; what is remembered of that, so that this bundle is not taken by a later node."""

    def tell() -> None:
        state.write(node.state, {**known, "leaving": bundle.serial, "at": round(time.time(), 3), "error": ""})

    done = leave.taken_off(bundle, node.serve, tell, begun="leaving" in known)
    return {"accepted": bundle.serial + 1, "applied": bundle.serial, "changed": len(done), "done": done}


def run(args: argparse.Namespace) -> int:
    """The node is made what its bundle says; what came of it is remembered, for the next delivery to tell."""
    try:
        lock = open_lock(args.state_dir / "lock")
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return say(UNREACHABLE, f"another run is under way, or {args.state_dir} is not there: {error}")
    with lock:
        try:
            known = converge(configured(args.config_dir, args.state_dir), check=args.check)
        except (RefusedError, FailedError, UnreachableError, OSError) as error:
            return failed(args, error)
        if args.check:
            print("\n".join(known["drift"]) or "nothing differs")
            return DONE
        done = known.pop("done")
        state.write(args.state_dir, {**known, "at": round(time.time(), 3), "error": ""})
        print("\n".join([f"bundle {known['applied']}: {len(done)} changed", *(f"  {words}" for words in done)]))
        return DONE


def failed(args: argparse.Namespace, error: Exception) -> int:
    """Remember why, beside what was remembered; a state that is damaged stays as it is."""
    if not args.check:
        try:
            known = state.read(args.state_dir)
            state.write(args.state_dir, {**known, "at": round(time.time(), 3), "error": state.words(error)})
        except (RefusedError, OSError) as damaged:
            error = damaged
    codes = {RefusedError: REFUSED, UnreachableError: UNREACHABLE}
    return say(codes.get(type(error), FAILED), str(error))


def say(code: int, words: str) -> int:
    """An error's words and its exit code."""
    print(f"speedtest-converge: {words}", file=sys.stderr)
    return code


def enrolled(args: argparse.Namespace) -> int:
    """The machine becomes a node by its invitation, and is what its bundle says."""
    secret = os.environ.pop(invitation.VARIABLE, "")
    try:
        enrol.enrolled(args.node, args.url, args.signer, secret, (args.config_dir, args.state_dir))
    except (RefusedError, UnreachableError, SpeedtestError, OSError) as error:
        return say(REFUSED if isinstance(error, RefusedError) else UNREACHABLE, f"not enrolled: {error}")
    print(f"the archive knows this machine as node '{args.node}'")
    return run(args)


def status(args: argparse.Namespace) -> int:
    """What is remembered, as JSON."""
    try:
        print(json.dumps(state.read(args.state_dir)))
    except RefusedError as error:
        return say(REFUSED, str(error))
    return DONE


def parser() -> argparse.ArgumentParser:
    """The command line."""
    raw = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser(
        prog="speedtest-converge",
        description="A node that is not pushed to: it fetches its bundle, verifies it, and is what it says.",
        epilog=EXIT_CODES,
        formatter_class=raw,
    )
    made.add_argument("--config-dir", type=Path, default=CONFIGURATION, help="pull.json and allowed_signers")
    made.add_argument("--state-dir", type=Path, default=state.FOLDER, help="what is remembered between runs")
    verbs = made.add_subparsers(dest="verb", required=True)
    text = "fetch, verify, and be what the bundle says (its timer does)"
    example = "example:\n  speedtest-converge run --check"
    one = verbs.add_parser("run", help=text, description=text, epilog=example, formatter_class=raw)
    one.add_argument("--check", action="store_true", help="change nothing, only say what differs")
    one.set_defaults(run=run)
    text, example = "what is remembered of the last run, as JSON", "example:\n  speedtest-converge status"
    two = verbs.add_parser("status", help=text, description=text, epilog=example, formatter_class=raw)
    two.set_defaults(run=status)
    text = f"become a node by the invitation in {invitation.VARIABLE} (the command that invite.yml prints does)"
    words = "--node attic --url https://speed.example.org/bundles --signer 'ssh-ed25519 KEY'"
    example = f"example:\n  speedtest-converge enrol {words}"
    three = verbs.add_parser("enrol", help=text, description=text, epilog=example, formatter_class=raw)
    three.add_argument("--node", required=True, metavar="NAME", help="the node's name in the inventory")
    three.add_argument("--url", required=True, help="where its bundles are served")
    three.add_argument("--signer", required=True, action="append", metavar="KEY", help="a public key that is believed")
    three.set_defaults(run=enrolled, check=False)
    return made


def main() -> int:
    """Run a verb; its exit code."""
    args = parser().parse_args()
    code: int = args.run(args)
    return code
