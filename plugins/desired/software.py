"""A release of this project with Python packages of its own: what archive host and dashboard have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from plugins.desired.things import Thing, directory, folder, leftover, link, package, release, venv
from plugins.lookup.release import release as artifact_of

Values = dict[str, Any]


def names(v: Values) -> Values:
    """Where it lies. `v`: a role's inputs, less their prefix."""
    install = v["install_dir"]
    return {
        "release_dir": f"{install}/releases/{v['version']}",
        "current": f"{install}/current",
        "venv": f"{install}/venv",
        "venv_dir": venv_dir(f"{install}/venvs", v["requirements_file"]),
    }


def venv_dir(place: str, requirements: str) -> str:
    """Where the Python packages of a lock lie."""
    lock = Path(requirements).read_text(encoding="utf-8").rstrip()
    return f"{place}/{hashlib.sha256(lock.encode()).hexdigest()[:12]}"


def replaced(v: Values, observed: Values) -> list[Values]:
    """What this run replaces: it stays beside what is used, and what is older goes."""
    n = names(v)
    uses = (("releases", n["current"], n["release_dir"]), ("venvs", n["venv"], n["venv_dir"]))
    return [
        {"directory": f"{v['install_dir']}/{folder}", "keep": [used, before]}
        for folder, link_path, used in uses
        if (before := observed["links"].get(link_path)) and before != used
    ]


def things(
    v: Values, imports: Iterable[str], restarts: Iterable[str] = (), *, packages: bool = True, images: str = ""
) -> list[Thing]:
    """The release and its Python packages; `imports`: what must load there, `restarts`: units that run it.

    A container has `packages` of its own: there are none on the host then. `images`: the repository of its images.
    """
    n, install = names(v), v["install_dir"]
    made = {"path": "", "digest": ""}
    if v["state"] == "present":
        made = artifact_of(v["version"], Path(v["artifact_dir"]))
    before, venv_before = f"{install}/previous", f"{install}/previous-venv"
    units = list(restarts)
    more = {"images": images} if images else {}
    return [
        package("python3-venv", when=packages),
        directory(install),
        directory(f"{install}/releases"),
        directory(f"{install}/venvs", when=packages),
        release(n["release_dir"], made["path"], made["digest"], restarts=units),
        venv(n["venv_dir"], v["requirements_file"], imports, when=packages),
        folder(f"{install}/releases", [n["release_dir"]], [n["current"], before], **more),
        *([folder(f"{install}/venvs", [n["venv_dir"]], [n["venv"], venv_before])] if packages else []),
        link(n["current"], n["release_dir"], previous=before, restarts=units),
        link(n["venv"], n["venv_dir"], when=packages, previous=venv_before, restarts=units),
        leftover(venv_before, when=packages),
    ]
