"""Running an engine: bounded in time and output, and nothing is left behind."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping

from speedtest_logger.engines.contract import Command, Output
from speedtest_logger.errors import EngineError

MAX_OUTPUT = 4_000_000
GRACE_SECONDS = 1.0


def run(command: Command, timeout: float, environment: Mapping[str, str]) -> Output:
    """Run a program in a process group of its own, which is ended whole when this returns, however it returns.

    Raises EngineError: engine_missing, engine_timeout. Output beyond 4 MB ends the program and marks the output.
    """
    try:
        process = subprocess.Popen(
            command.argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=dict(environment),
            cwd="/",
        )
    except OSError as error:
        raise EngineError("engine_missing", f"{command.argv[0]}: {error.strerror}") from error
    try:
        return _collect(process, command.stdin, time.monotonic() + timeout, timeout)
    finally:
        end_group(process)


def _collect(process: subprocess.Popen[bytes], stdin: bytes, deadline: float, timeout: float) -> Output:
    assert process.stdin
    assert process.stdout
    assert process.stderr
    feed(process, stdin)
    chunks: dict[int, bytearray] = {process.stdout.fileno(): bytearray(), process.stderr.fileno(): bytearray()}
    with selectors.DefaultSelector() as selector:
        for stream in chunks:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            if time.monotonic() > deadline:
                raise EngineError("engine_timeout", f"{process.args!r:.200} did not finish within {timeout:.0f} s")
            for key, _ in selector.select(timeout=min(1.0, max(0.0, deadline - time.monotonic()))):
                data = os.read(key.fd, 65_536)
                chunks[key.fd] += data
                if not data:
                    selector.unregister(key.fd)
                if len(chunks[key.fd]) > MAX_OUTPUT:
                    return _output(-1, chunks, truncated=True)
    try:
        returncode = process.wait(timeout=max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise EngineError("engine_timeout", f"{process.args!r:.200} did not exit within {timeout:.0f} s") from error
    return _output(returncode, chunks, truncated=False)


def feed(process: subprocess.Popen[bytes], stdin: bytes) -> None:
    """Give a program its (short) standard input; one that has already gone will be judged by its output."""
    assert process.stdin
    try:
        process.stdin.write(stdin)
        process.stdin.close()
    except BrokenPipeError:
        return


def _output(returncode: int, chunks: dict[int, bytearray], *, truncated: bool) -> Output:
    stdout, stderr = (bytes(chunk) for chunk in chunks.values())
    return Output(returncode, stdout, stderr, truncated)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a program's process group: first politely, then not."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sent)
        except ProcessLookupError:
            break
        deadline = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < deadline and _group_lives(process):
            time.sleep(0.02)
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()


def _group_lives(process: subprocess.Popen[bytes]) -> bool:
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True
