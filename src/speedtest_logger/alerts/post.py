"""The post: messages that wait leave, destination by destination, each in its order.

A destination that fails is tried again later and later, and holds up nobody else. What has gathered meanwhile leaves as
one message; where that fails, each is its own again. A message is noted as leaving before it leaves and taken off the
list afterwards: a process that ends in between may have sent it, so it is sent again and says so.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import unquote

from speedtest_logger.alerts import messages
from speedtest_logger.alerts.destinations import Destination
from speedtest_logger.alerts.findings import describe_time
from speedtest_logger.alerts.messages import Message
from speedtest_logger.alerts.settings import Settings
from speedtest_logger.alerts.state import MOST_SENT, State
from speedtest_logger.errors import DeliveryError

FIRST_WAIT, LONGEST_WAIT = 60, 600  # s between two tries
Send = Callable[[Destination, Message], None]  # raises DeliveryError, with why and no secret
PATIENCE = 15  # s for a destination to answer
SHORTEST = 3  # characters of an address that are worth hiding
MAYBE = "(This may have reached you already.)"


def deliver(
    state: State, settings: Settings, now: float, save: Callable[[], None], send: Send, stop: Callable[[], bool]
) -> int:
    """Send what is due; how many messages left. `save` puts the state on disk; `stop`: whether to end soon."""
    forget_strangers(state, settings)
    left = 0
    for destination in settings.destinations:
        while not stop():
            apart = state.waiting
            if (message := _next(state, destination, now)) is None:
                break
            if message.sending and MAYBE not in message.lines:  # somebody was killed while it left
                message.lines.append(MAYBE)
            message.sending = True
            save()
            is_out = _send(state, destination, message, now, send)
            if not is_out:
                state.waiting = apart
            save()
            if not is_out:
                break
            left += 1
    return left


def try_now(state: State) -> None:
    """Have destinations that failed tried again at once."""
    for post in state.posts.values():
        post.next = 0


def forget_strangers(state: State, settings: Settings) -> None:
    """Leave out what waits for destinations that the inventory no longer has."""
    names = {destination.name for destination in settings.destinations}
    state.waiting = [message for message in state.waiting if message.destination in names]
    state.posts = {name: post for name, post in state.posts.items() if name in names}


def _next(state: State, destination: Destination, now: float) -> Message | None:
    """What leaves next for a destination: the first that waits; all that gathered while nothing could leave, as one."""
    post = state.post(destination.name)
    if post.next > now:
        return None
    mine = [message for message in state.waiting if message.destination == destination.name]
    if destination.is_quiet(now):
        urgent = [m for m in mine if m.severity == "critical" and destination.passes == "critical"]
        return urgent[0] if urgent else None
    if not mine:
        return None
    why = _gathered(destination, mine, post.failing_since)
    if len(mine) < 2 or why is None or mine[0].sending:  # what may have arrived stays the same message
        return mine[0]
    one = messages.together(mine, now, why)
    state.waiting = [one, *(message for message in state.waiting if message.destination != destination.name)]
    return one


def _gathered(destination: Destination, mine: list[Message], failing_since: float | None) -> str | None:
    if failing_since is not None:
        return f"What could not be delivered since {describe_time(int(failing_since))}:"
    if destination.is_quiet(mine[0].at):
        return "What happened in your quiet hours:"
    return None


def _send(state: State, destination: Destination, message: Message, now: float, send: Send) -> bool:
    post = state.post(destination.name)
    try:
        send(destination, message)
    except DeliveryError as error:
        message.sending = False
        post.failing_since = post.failing_since or now
        post.why, post.tries, post.failed = str(error)[:300], post.tries + 1, post.failed + 1
        post.next = now + min(FIRST_WAIT * 2 ** (post.tries - 1), LONGEST_WAIT)
        return False
    post.failing_since, post.why, post.tries, post.next, post.sent = None, "", 0, 0, post.sent + 1
    post.last_sent = now
    state.waiting.remove(message)
    state.sent = [
        *state.sent[1 - MOST_SENT :],
        {"to": destination.name, "at": now, "of": message.at, "title": message.title, "findings": message.findings},
    ]
    return True


def by_apprise(destination: Destination, message: Message) -> None:
    """Hand a message to Apprise (https://github.com/caronc/apprise). Raises DeliveryError.

    Mail and webhooks carry the message's name in a header, X-Speedtest-Message, so that who gets one twice can tell.
    """
    import apprise

    service = apprise.Apprise.instantiate(with_name(destination.url, message.id), suppress_exceptions=True)
    if service is None:
        raise DeliveryError("Apprise does not understand the address: see its documentation of the service")
    service.socket_connect_timeout = service.socket_read_timeout = PATIENCE
    with _said() as said:
        sent = service.notify(
            body=message.body(), title=message.title, notify_type=apprise.NotifyType(message.kind), body_format="text"
        )
    if not sent:
        raise DeliveryError(without(destination.url, said[-1]) if said else "the service did not take it")


NAMED = ("mailto", "mailtos", "json", "jsons", "form", "forms", "xml", "xmls")  # take headers from their addresses


def with_name(url: str, name: str) -> str:
    """An address that has the service send a message's name as a header, where it can."""
    if url.partition("://")[0] not in NAMED:
        return url
    return f"{url}{'&' if '?' in url else '?'}+X-Speedtest-Message={name}"


@contextmanager
def _said() -> Iterator[list[str]]:
    """What Apprise logs meanwhile: why something did not work."""
    lines: list[str] = []

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger = logging.getLogger("apprise")
    handler = Listening(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


def without(url: str, text: str) -> str:
    """A service's words without anything of its address that may be a secret, as it stands there or decoded."""
    rest = url.partition("://")[2]
    parts = [part for each in re.split(r"[/?@:&=]", rest) for part in (each, unquote(each)) if len(part) >= SHORTEST]
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, "…")
    return " ".join(text.split())[:200]
