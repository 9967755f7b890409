"""What a host with Docker has: the role docker_host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from plugins.converge.containers import CODENAME
from plugins.desired import templates
from plugins.desired.docker_engine import COMPOSE_MIN, ENGINE_MIN, complaint, outdated
from plugins.desired.things import Goes, Thing, account, unit

ROLE = "docker_host"
# Packages that bring engine, client, Compose and the builder; the first is the engine, the second Compose.
PACKAGES = {
    "distribution": {
        "debian": ["docker.io", "docker-compose", "docker-cli", "docker-buildx"],
        "ubuntu": ["docker.io", "docker-compose-v2", "docker-buildx"],
    },
    "repository": {
        name: ["docker-ce", "docker-compose-plugin", "docker-ce-cli", "docker-buildx-plugin", "containerd.io"]
        for name in ("debian", "ubuntu")
    },
}
Values = dict[str, Any]


def names(_: Values) -> Values:
    """What the role's tasks use."""
    return {"engine_min": ENGINE_MIN, "compose_min": COMPOSE_MIN}


def besides(v: Values) -> Values:
    """What is looked at besides the things: Docker itself, and which versions apt would install."""
    packages = PACKAGES["distribution"].values() if v["source"] == "distribution" else ()
    return {"docker": True, "candidates": list(dict.fromkeys(name for listed in packages for name in listed))}


def found(v: Values, observed: Values) -> Values:
    """What is wrong with the Docker that is there and with the inputs, packages to install, files of the repository."""
    wrong = complaint(observed.get("docker"))
    packages = PACKAGES.get(v["source"], {}).get(observed["os"]["id"], [])
    return {
        "complaint": wrong,
        "due": bool(wrong),
        "refusals": list(refusals(v, observed)),
        "missing": packages if wrong else [],
        "repository_files": repository_files(v, observed["os"]) if v["source"] == "repository" else [],
    }


def refusals(v: Values, observed: Values) -> Iterator[str]:
    """Why this source can bring no Docker here."""
    system, source = observed["os"], v["source"]
    if source != "none" and system["id"] not in PACKAGES[source]:
        yield (
            f"docker_host_source: seen {source} on {system['id']}; set it to none and install Docker {ENGINE_MIN} and "
            f"Compose {COMPOSE_MIN} yourself"
        )
    elif source == "distribution" and not observed.get("docker"):
        for words in outdated(PACKAGES[source][system["id"]], observed["candidates"]):
            yield (
                f"docker_host_source: seen distribution, but {system['id']} {system['version_id']} has {words}; "
                "set docker_host_source to repository for Docker's own packages, or to none and install it yourself"
            )
    elif source == "repository" and not v["repository_key"]:
        yield (
            "docker_host_repository_key: seen nothing; set the key that signs what lies at "
            f"{repository_url(v, system['id'])} (Docker's is there as gpg; compare its fingerprint with Docker's "
            "documentation)"
        )
    elif source == "none" and (wrong := complaint(observed.get("docker"))):
        yield (
            f"docker_host_source: seen none, but {wrong}; put that right on the host (Engine {ENGINE_MIN}, Compose "
            f"{COMPOSE_MIN} or newer), or set docker_host_source to distribution or repository"
        )


def for_bundle(v: Values) -> Values:
    """Where a node that pulls has its Docker from, whatever its distribution and its release of that are."""
    sources = PACKAGES.get(v["source"], {})
    files = {name: repository_files(v, {"id": name, "codename": CODENAME}) for name in sources}
    return {"source": v["source"], "packages": sources, "files": files if v["source"] == "repository" else {}}


def repository_url(v: Values, distribution: str) -> str:
    """Where Docker's own packages lie."""
    return str(v["repository_url"]) or f"https://download.docker.com/linux/{distribution}"


def repository_files(v: Values, system: Values) -> list[Values]:
    """What tells apt of Docker's own packages: their key, where they lie, the version to stay with."""
    values = {
        **{f"{ROLE}_{key}": value for key, value in v.items()},
        "repository_url": repository_url(v, system["id"]),
        "codename": system["codename"],
    }
    owned = {"owner": "root", "group": "root", "mode": "0644"}
    return [
        {"path": "/etc/apt/keyrings/docker.asc", "content": f"{v['repository_key']}\n", **owned},
        {
            "path": "/etc/apt/sources.list.d/docker.sources",
            "content": templates.rendered(ROLE, "docker.sources", values),
            **owned,
        },
        {
            "path": "/etc/apt/preferences.d/docker",
            "content": templates.rendered(ROLE, "docker.preferences", values),
            **owned,
        },
    ]


def things(v: Values) -> list[Thing]:
    """What is ours on it; Docker itself is installed where it is missing and stays."""
    managed = v["source"] != "none"
    daemon = Thing(
        "files",
        {
            "path": "/etc/docker/daemon.json",
            "merge": v["daemon"],
            "owner": "root",
            "group": "root",
            "mode": "0644",
            "restarts": ["docker.service"],
        },
        managed,
        Goes.NEVER,
    )
    return [
        daemon,
        *[account(name, groups=["docker"], goes=Goes.NEVER) for name in v["users"]],
        unit("docker.service", when=managed, goes=Goes.NEVER),
    ]
