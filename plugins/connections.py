"""Many hosts asked at once from one process, over the same ssh command lines that Ansible would use.

A task forks a worker for each host and templates for each anew: a second of CPU here for a host that is as it should
be. What only looks needs neither. Where a host is reached in another way than by ssh with keys, or does not answer as
it should, nothing is said about it: the role then finds out by Ansible's own means, and Ansible's words tell why.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from ansible.errors import AnsibleError
from ansible.plugins.loader import become_loader, connection_loader

from plugins.remote import answer_of, interpreter_of

LARGEST_ANSWER = 16_000_000
MOST_WORDS = 4  # parts of 4 kB of what is said on standard error
SSH_FAILED = 255  # ssh(1): an error occurred
MOST_AT_ONCE = 32


class Question(NamedTuple):
    """A program for a host, and the command line that has the host run it."""

    host: str
    line: list[str]
    program: bytes


def command_line(action: Any, host: str, variables: Mapping[str, Any], templar: Any) -> list[str] | None:
    """What Ansible would run here to have Python read a program there, as `action`'s task says; None for other ways."""
    try:
        return _command_line(action, host, variables, templar)
    except (AnsibleError, AttributeError, KeyError, TypeError):  # a plugin that is made in another way
        return None


def _command_line(action: Any, host: str, variables: Mapping[str, Any], templar: Any) -> list[str] | None:
    task, context = action._task, action._play_context
    context = context.set_task_and_variable_override(task=task, variables=variables, templar=templar)
    context.remote_addr = templar.template(variables.get("ansible_host") or host)
    kind = str(templar.template(variables.get("ansible_connection") or context.connection or "ssh"))
    link = connection_loader.get("ssh" if kind == "smart" else kind, context, task_uuid=task._uuid)
    if link is None or link.transport not in ("ssh", "local") or context.password or context.become_pass:
        return None
    keys = {"timeout": context.timeout}
    link.set_options(task_keys=keys, var_options=link._resolve_option_variables(variables, templar))
    command = f"{shlex.quote(interpreter_of(variables))} -IS -"
    if become_of(task, variables, templar):
        method = str(templar.template(variables.get("ansible_become_method") or task.become_method or "sudo"))
        become = become_loader.get(method)
        options = {name: templar.template(value) for name, value in variables.items() if name.startswith("ansible_")}
        become.set_options(task_keys={"become_user": task.become_user}, var_options=options)
        if become.get_option("become_pass"):
            return None
        command = become.build_become_command(command, link._shell)
    line = f"{context.executable} -c {shlex.quote(link._shell.append_command(command, 'sleep 0'))}"
    if link.transport == "local":
        return ["/bin/sh", "-c", line]
    if link.get_option("password"):
        return None
    words = link._build_command(link.get_option("ssh_executable"), "ssh", link.get_option("host") or host, line)
    return [word.decode() if isinstance(word, bytes) else str(word) for word in words]


def become_of(task: Any, variables: Mapping[str, Any], templar: Any) -> bool:
    """Whether another account's rights are taken there."""
    said = variables.get("ansible_become")
    return bool(task.become if said is None else templar.template(said) in (True, "true", "yes", 1))


def ask_all(questions: Iterable[Question], seconds: float) -> dict[str, dict[str, Any]]:
    """Each host's answer to its program; `failed` where there is none within some seconds.

    A host is asked as soon as its question is known: while the next one is made, it answers.
    """
    with ThreadPoolExecutor(MOST_AT_ONCE) as pool:
        asked = {one.host: pool.submit(ask_or_say_why, one.line, one.program, seconds) for one in questions}
        return {host: answer.result() for host, answer in asked.items()}


def ask_or_say_why(line: list[str], program: bytes, seconds: float) -> dict[str, Any]:
    """See ask; where nobody could be asked from here, that is the answer."""
    try:
        return ask(line, program, seconds)
    except OSError as error:
        return {"failed": True, "msg": f"{line[0]}: {error}"}


def ask(line: list[str], program: bytes, seconds: float) -> dict[str, Any]:
    """One host's answer; `failed`, `unreachable` or `timedout` with `msg` as Ansible has them where there is none."""
    with tempfile.TemporaryFile() as source:
        source.write(program)
        source.seek(0)
        running = subprocess.Popen(
            line, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ, start_new_session=True
        )
    late = threading.Event()

    def end() -> None:
        late.set()
        running.kill()

    ending = threading.Timer(seconds, end)
    ending.start()
    words: deque[bytes] = deque(maxlen=MOST_WORDS)
    listener = threading.Thread(target=listen, args=(running.stderr, words), daemon=True)
    listener.start()
    printed = running.stdout.read(LARGEST_ANSWER) if running.stdout else b""
    if len(printed) == LARGEST_ANSWER:
        running.kill()
    code = running.wait()
    ending.cancel()
    listener.join(1)
    for stream in [running.stdout] if listener.is_alive() else [running.stdout, running.stderr]:
        if stream:
            stream.close()
    if late.is_set():
        return {"failed": True, "timedout": {"period": int(seconds)}, "msg": f"no answer within {seconds:g} s"}
    said = b"".join(words).decode(errors="replace")
    if code == SSH_FAILED and not printed:
        return {"failed": True, "unreachable": True, "msg": f"Failed to connect to the host via ssh: {said.strip()}"}
    return answer_of("python3", code, printed.decode(errors="replace"), said)


def listen(stream: Any, words: deque[bytes]) -> None:
    """Keep the last of what comes through a pipe, however much it is."""
    for part in iter(lambda: stream.read1(4096), b""):
        words.append(part)
