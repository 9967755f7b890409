"""receive over HTTP: the same judging, bounds and receipts as over ssh, in one process (http_receiver).

It listens on a socket behind a front that speaks TLS, or, where there is none, speaks TLS itself on a port.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from speedtest_logger import systemd
from speedtest_logger.archive.arrive import http_request
from speedtest_logger.archive.arrive.certificate import Certificate
from speedtest_logger.archive.arrive.enrolment import Enrolments
from speedtest_logger.archive.arrive.http_receiver import CONNECTIONS, HEAD_SECONDS, Receiver
from speedtest_logger.archive.arrive.tokens import Tokens
from speedtest_logger.archive.format.layout import Layout, default_root
from speedtest_logger.errors import EXIT_OK
from speedtest_logger.usage import Help, exit_code_of

SOCKET = Path("/run/speedtest-receive-http/socket")
STOP_SECONDS = 5
ENROLLED = "enrolled"  # in the archive's state/: see invitation


async def on_socket(receiver: Receiver, place: Path) -> asyncio.AbstractServer:
    """Listen on a socket, behind a front."""
    place.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(
        receiver.connected, place, limit=http_request.MOST_HEAD, backlog=CONNECTIONS
    )
    place.chmod(0o666)  # the front has an account of its own; without a token nobody delivers
    return server


async def on_port(receiver: Receiver, port: int, certificate: Certificate) -> asyncio.AbstractServer:
    """Listen on a port of all addresses, by TLS."""
    return await asyncio.start_server(
        receiver.connected,
        port=port,
        limit=http_request.MOST_HEAD,
        backlog=CONNECTIONS,
        ssl=certificate.context,
        ssl_handshake_timeout=HEAD_SECONDS,
    )


async def serve(receiver: Receiver, listening: Callable[[Receiver], Awaitable[asyncio.AbstractServer]]) -> None:
    """Serve until told to stop; a delivery that is being judged then is still answered."""
    server = await listening(receiver)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    systemd.ready()
    await stopped.wait()
    server.close()
    ends = time.monotonic() + STOP_SECONDS
    while receiver.under_way and time.monotonic() < ends:
        await asyncio.sleep(0.05)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(
        prog="speedtest-receive-http",
        description="Take nodes' records over HTTP: on a socket behind a front, or by TLS on a port.",
        formatter_class=Help,
    )
    top.add_argument("--root", type=Path, default=default_root())
    top.add_argument("--tokens", type=Path, required=True, help="the file with the digests of the nodes' tokens")
    top.add_argument(
        "--invitations",
        type=Path,
        metavar="FILE",
        help="the file with the digests of invitations, by which new nodes bring their token's; without it none do",
    )
    top.add_argument("--socket", type=Path, default=SOCKET)
    top.add_argument("--port", type=int, metavar="PORT", help="instead of the socket: a port of all addresses, by TLS")
    top.add_argument("--certificate", type=Path, metavar="FILE", help="with --port: its certificate and what signed it")
    top.add_argument("--key", type=Path, metavar="FILE", help="with --port: the certificate's private key")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the service."""
    top = parser()
    args = top.parse_args(argv)
    by_tls = (args.port, args.certificate, args.key)
    if any(by_tls) and not all(by_tls):
        top.error("--port, --certificate and --key belong together: tokens go over no network without TLS")
    os.umask(0o027)
    return exit_code_of("speedtest-receive-http", lambda: run(args))


def run(args: argparse.Namespace) -> int:
    """Serve, as the command line says. Raises ConfigError for a certificate that is none."""
    layout, tokens = Layout(args.root), Tokens(args.tokens)
    enrolments = Enrolments(args.invitations, layout.state / ENROLLED, tokens) if args.invitations else None
    receiver = Receiver(layout, tokens, enrolments)
    if args.port is None:
        try:
            asyncio.run(serve(receiver, lambda each: on_socket(each, args.socket)))
        finally:
            args.socket.unlink(missing_ok=True)
        return EXIT_OK
    certificate = Certificate(args.certificate, args.key)
    asyncio.run(serve(receiver, lambda each: on_port(each, args.port, certificate)))
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
