"""How engines' errors are put into the closed list of reasons."""

from __future__ import annotations

import re
from typing import NoReturn

from speedtest_logger.engines.contract import Output
from speedtest_logger.errors import EngineError

PATTERNS = (
    ("rate_limited", r"too many requests|limit reached|\b429\b|rate limit"),
    ("server_busy", r"server is busy"),
    (
        "dns_failed",
        (
            r"name or service not known|no such host|name resolution|could(?: not|n't) resolve|nodename nor servname|"
            r"failed to resolve host|host resolve failed"
        ),
    ),
    (
        "no_route",
        r"network is unreachable|no route to host|network unreachable|failed binding local connection end",
    ),
    (
        "server_unreachable",
        (
            r"connection refused|timed? ?out|unable to connect|unreachable|connection reset|"
            r"cannot (?:open|read|read from) socket|cannot read:|no servers? (?:is currently )?available|noservers|"
            r"configurationerror|cannot retrieve"
        ),
    ),
)
TURNED_AWAY = r"unable to (?:connect to server|receive control message)\b.*Connection (?:refused|reset)"


def fail(text: str, default: str = "engine_error") -> NoReturn:
    """Raise EngineError with the reason that a program's message means."""
    said = " ".join(text.split())
    message = said[:500] or "the program said nothing"
    for reason, pattern in PATTERNS:
        if re.search(pattern, said, re.IGNORECASE):
            raise EngineError(reason, message)
    raise EngineError(default, message)


def is_busy(output: Output) -> bool:
    """Whether the server said that it is testing with somebody else."""
    return re.search(dict(PATTERNS)["server_busy"], output.text) is not None


def is_between_tests(output: Output) -> bool:
    """Whether an iperf3 server let somebody go before a test began.

    After each test it closes its port and opens it again: who comes meanwhile is refused, or reset (esnet/iperf#2066).
    """
    nothing_began = re.search(rb'"intervals":\s*\[\s*\]', output.stdout)
    return nothing_began is not None and re.search(TURNED_AWAY, output.text) is not None


def found_nobody(output: Output) -> bool:
    """Whether librespeed-cli says that no server answers: nobody is there, or nobody under that URL."""
    return output.stdout.strip() in (b"null", b"[]")
