"""The connection to the archive host: what goes over it and comes back, whichever way it goes."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from speedtest_logger.errors import DeliveryError
from speedtest_logger.node.config import Settings
from speedtest_logger.node.connection.words import printable
from speedtest_logger.wire import Receipt


def send(settings: Settings, lines: bytes) -> dict[str, Any]:
    """One connection: lines up, one receipt down. Raises DeliveryError with what went wrong, in plain words."""
    if settings.transport == "https":  # a node that needs one of the two need not load the other one
        from speedtest_logger.node.connection.https import exchange
    else:
        from speedtest_logger.node.connection.ssh import exchange
    try:
        answer = exchange(settings, lines)
    except TimeoutError as error:
        raise DeliveryError(
            f"no answer from {settings.archive_host} within {settings.push_timeout_seconds} s"
        ) from error
    if not isinstance(answer, dict) or "receipt" not in answer:
        raise DeliveryError(f"the archive refused the delivery: {refusal(answer)}")
    return answer


def read_receipt(settings: Settings, answer: dict[str, Any], sent: Container[str]) -> Receipt:
    """What a receipt says of what was sent; each record is in one list. Raises DeliveryError for what is none."""
    if answer.get("node") != settings.node:
        knows = printable(repr(answer.get("node")))
        raise DeliveryError(f"the archive knows this key as node {knows}, not {settings.node!r}")
    try:
        receipt = Receipt.of(answer)
    except ValueError as error:
        raise DeliveryError(f"the archive's answer is not a receipt: {error}") from error
    accepted, rejected, later = receipt.accepted, receipt.rejected, receipt.later
    taken = list(dict.fromkeys(run_id for run_id in accepted if isinstance(run_id, str) and run_id in sent))
    known = set(taken)
    refused = {run_id: printable(why) for run_id, why in rejected.items() if run_id in sent and run_id not in known}
    known |= refused.keys()
    put_off = {run_id: printable(why) for run_id, why in later.items() if run_id in sent and run_id not in known}
    lines = [kind for kind in receipt.knows if isinstance(kind, str)]
    return Receipt(printable(receipt.name), settings.node, taken, refused, put_off, lines, receipt.log, receipt.probes)


def refusal(answer: object) -> str:
    """Why a delivery as a whole was refused."""
    if isinstance(answer, dict) and "refused" in answer:
        return printable(f"{answer['refused']}: {answer.get('message', '')}")
    return printable(repr(answer))
