"""The probes: what is known of each before it runs. Settings, checks, packages and pages come from here.

A new probe is one row, and a module of that name beside this one. Standard library only: nodes load this with their
settings.
"""

from __future__ import annotations

from dataclasses import dataclass

from speedtest_logger import domains
from speedtest_logger.domains import AnyOf, Choice, Domain, Text

GATEWAY = "gateway"


@dataclass(frozen=True)
class Known:
    """A probe: the program that it needs (None: none) and Debian's package of it, and which targets it may have.

    Without a domain it has no targets of its own. `own_target` says how to name one in a refusal, where there is no
    default. `needs_icmp`: the node's account must be allowed to send echo requests.
    """

    title: str
    targets: Domain | None = None
    targets_text: str = ""
    default: tuple[str, ...] = ()
    own_target: str = ""
    program: str | None = None
    package: str | None = None
    needs_icmp: bool = False


def is_question(text: str) -> bool:
    """Whether a text is NAME, or NAME@SERVER with a server's address and perhaps its port."""
    name, at, server = text.partition("@")
    if not domains.is_host(name) or domains.is_address(name):
        return False
    host = server.removeprefix("[").partition("]")[0] if server.startswith("[") else server.partition(":")[0]
    return not at or domains.is_address(server) or (domains.is_host_port(server) and domains.is_address(host))


PROBES = {
    "ping": Known(
        "echo requests (ICMP)",
        AnyOf(Choice(GATEWAY), domains.HOST),
        "ping: hosts to send echo requests to; gateway is the one of the default route, and tells a fault in one's own "
        "network from one of the line.",
        (GATEWAY, "1.1.1.1", "9.9.9.9"),
        needs_icmp=True,
    ),
    "dns": Known(
        "questions to a name server",
        Text("NAME or NAME@ADDRESS of a name server", accepts=is_question),
        "dns: names to ask for, as NAME (the system's name servers are asked) or NAME@ADDRESS.",
        ("example.org",),
    ),
    "http": Known(
        "requests to a web server",
        domains.URL,
        "http: URLs to ask for; the time is that to the answer's headers. There is no default: name one that expects a "
        "request a minute.",
        own_target="a URL",
    ),
    "irtt": Known(
        "small UDP packets to an irtt server",
        domains.HOST_PORT,
        "irtt: HOST or HOST:PORT of your own servers, such as one of the role speedtest_target with "
        "speedtest_target_irtt_port.",
        own_target="HOST or HOST:PORT",
        program="irtt",
        package="irtt",
    ),
    "traceroute": Known(
        "the way to a ping target, when that does not answer",
        program="mtr",
        package="mtr-tiny",
        needs_icmp=True,
    ),
}
