"""The engines: what is known of each before its program runs. Settings, checks, packages and pages come from here.

A new engine is one row, and a module of that name beside this one. Standard library only: nodes load this with their
settings.
"""

from __future__ import annotations

from dataclasses import dataclass

from speedtest_logger import domains
from speedtest_logger.domains import AnyOf, Domain


@dataclass(frozen=True)
class Package:
    """The package that brings a program, and the first version of each distribution that has it (0: all have)."""

    name: str
    debian: int = 0
    ubuntu: int = 0

    def is_in(self, distribution: str, version: str) -> bool:
        """Whether a release of a distribution has it; one that is not known counts as Debian."""
        return float(version or 0) >= (self.ubuntu if distribution == "ubuntu" else self.debian)


@dataclass(frozen=True)
class Licence:
    """Whose licence it is, and the setting that says that a node's owner accepts it."""

    owner: str
    setting: str


@dataclass(frozen=True)
class Program:
    """An engine's program, as a node finds it; `title` is what people call it.

    `servers` says which values name one, `servers_text` what the setting does. Where there is no public list, so that
    one must be named, `own_server` says how in a refusal. Without a `package` the inventory names a download.
    """

    name: str
    servers: Domain
    servers_text: str
    title: str = ""
    own_server: str = ""
    package: Package | None = None
    licence: Licence | None = None


ENGINES = {
    "librespeed": Program(
        "librespeed-cli",
        AnyOf(domains.URL, domains.SERVER_ID),
        "LibreSpeed: URLs of your own servers or ids of the public list, used in this order; empty: the engine "
        "chooses. The URL of LibreSpeed's own page, such as http://HOST:8080/, is enough: its back end is looked for "
        "there as it is, with .php, and in backend/.",
        package=Package("librespeed-cli", debian=13, ubuntu=26),
    ),
    "iperf3": Program(
        "iperf3",
        domains.HOST_PORT,
        "iperf3: HOST or HOST:PORT of your own servers, used in this order; there is no public list, so that one must "
        "be named where iperf3 is among the engines.",
        own_server="HOST or HOST:PORT",
        package=Package("iperf3"),
    ),
    "speedtest_cli": Program(
        "speedtest-cli",
        domains.SERVER_ID,
        "speedtest-cli: server ids, used in this order; empty: the engine chooses.",
        package=Package("speedtest-cli"),
    ),
    "ookla": Program(
        "speedtest",
        domains.SERVER_ID,
        "Ookla: server ids, used in this order; empty: the engine chooses.",
        title="Ookla's speedtest",
        licence=Licence("Ookla", "ookla_licence_accepted"),
    ),
}
