"""The workbench: Streamlit with one page, for this machine or a front. Standard library only."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from speedtest_logger import __version__
from speedtest_logger.archive.format.layout import DEFAULT_ROOT, Layout
from speedtest_logger.domains import is_loopback
from speedtest_logger.errors import EXIT_OK, EXIT_USAGE

PROGRAM = "python3 -m speedtest_logger.workbench"
PAGE = Path(__file__).with_name("page.py")
LOOPBACK = ("localhost", "127.0.0.1")
# Whatever a file of Streamlit's or the environment says.
FIXED = {
    "server.headless": "true",
    "server.enableXsrfProtection": "true",
    "server.enableCORS": "true",
    "server.fileWatcherType": "none",
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "none",
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Ask an archive in SQL, draw the answer, take it away: in a browser on this machine, where whoever "
        "has an account can do so as long as this runs.",
        epilog=f"example:\n  {PROGRAM} --root /srv/speedtest-archive",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"speedtest-workbench {__version__}")
    top.add_argument("--root", type=Path, metavar="FOLDER", help="the archive; default $SPEEDTEST_ARCHIVE_DIR")
    top.add_argument("--port", type=int, default=8501, help="default 8501")
    top.add_argument(
        "--bind",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="default %(default)s; any other one, such as a container's, has to be where only a front comes, whose "
        "--host is needed: there is no login here",
    )
    top.add_argument("--host", default="", help="the name under which a front serves it; default localhost, 127.0.0.1")
    top.add_argument("--path", default="", help="under which a front serves it, such as /workbench; default /")
    return top


def command(args: argparse.Namespace) -> list[str]:
    """The program that takes this one's place."""
    hosts = [args.host] if args.host else list(LOOPBACK)
    own = {
        "server.address": args.bind,
        "server.port": str(args.port),
        "server.baseUrlPath": args.path.strip("/"),
        "browser.serverAddress": hosts[0],
    }
    return [
        *(sys.executable, "-m", "streamlit", "run", str(PAGE)),
        *(f"--{name}={value}" for name, value in {**FIXED, **own}.items()),
        # a page that has its own name lead here could ask, and be told, whatever it likes
        *(f"--server.allowedHosts={name}" for name in hosts),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; does not return where all is well."""
    args = parser().parse_args(argv)
    root = args.root or Path(os.environ.get("SPEEDTEST_ARCHIVE_DIR") or DEFAULT_ROOT)
    problem = ""
    if not Layout(root).archive.is_dir():
        problem = f"{root} is not an archive: give its folder with --root or SPEEDTEST_ARCHIVE_DIR"
    elif not is_loopback(args.bind) and not args.host:
        problem = f"--bind {args.bind} needs --host NAME, the front that asks who somebody is: there is no login here"
    elif find_spec("streamlit") is None:
        problem = "Streamlit is not there: install requirements/workbench.txt into an environment of its own"
    if problem:
        print(f"workbench: {problem}", file=sys.stderr)
        return EXIT_USAGE
    path = os.pathsep.join(filter(None, [str(PAGE.parents[2]), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "SPEEDTEST_ARCHIVE_DIR": str(root.absolute()), "PYTHONPATH": path}
    os.execve(sys.executable, command(args), environment)  # noqa: S606  (the program is this Python)
    return EXIT_OK
