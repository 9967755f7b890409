"""Inputs of the role docker_host."""

from __future__ import annotations

from speedtest_logger import domains
from speedtest_logger.domains import Choice, OrEmpty
from speedtest_logger.inventory import kinds
from speedtest_logger.inventory.inputs import EntryPoint, Input, Role

INPUTS = (
    Input(
        "docker_host_source",
        "distribution",
        "Where Docker comes from. distribution: the host's own packages (Debian 13 has 26.1). repository: "
        "Docker's own packages (Debian 12, Ubuntu). none: you install and configure Docker yourself; only its "
        "versions are checked.",
        Choice("distribution", "repository", "none"),
    ),
    Input(
        "docker_host_repository_url",
        "",
        "With docker_host_source repository: where its packages lie; empty: Docker's own at download.docker.com.",
        OrEmpty(domains.AnyOf(domains.URL, domains.Text("file:/DIRECTORY of the host", r"file:(/[A-Za-z0-9._-]+)+/?"))),
    ),
    Input(
        "docker_host_repository_suite",
        "",
        "The distribution's name there; empty: the host's own.",
        OrEmpty(kinds.SUITE),
    ),
    Input(
        "docker_host_repository_component",
        "stable",
        "The part of it to use.",
        kinds.SUITE,
    ),
    Input(
        "docker_host_repository_key",
        "",
        "The public key that its packages are signed with, as text, such as lookup('file', 'docker.asc'). "
        "Nothing is trusted unseen.",
        OrEmpty(kinds.ARMOUR),
    ),
    Input(
        "docker_host_repository_pin",
        "",
        'Versions of the Engine to stay with, such as "5:28.*"; empty: the newest.',
        OrEmpty(kinds.PIN),
    ),
    Input(
        "docker_host_daemon",
        {"log-driver": "local", "log-opts": {"max-size": "10m", "max-file": "3"}, "live-restore": True},
        "Our keys in /etc/docker/daemon.json. Keys that are not named here are left as they are found.",
        kinds.Mapped("a mapping of dockerd's options"),
    ),
    Input(
        "docker_host_users",
        [],
        "Accounts in the group docker. Whoever is in it can become root on this host.",
        kinds.MEMBERS,
    ),
)

ENTRY_POINTS = (
    EntryPoint("observe", "Compare the host with what the role wants there, change nothing: docker_host_observed"),
)

ROLE = Role("docker_host", "Docker Engine 24.0 or newer with Compose 2.20 or newer", INPUTS, ENTRY_POINTS)
