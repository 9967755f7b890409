"""An image of this project's, and how a host gets it: what logger and dashboard have in common."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from plugins.lookup.release import release as artifact_of

LABEL = "org.opencontainers.image"
Values = dict[str, Any]


def named(name: str, version: str) -> Values:
    """An image of a release by its name."""
    return {"name": name, "labels": {f"{LABEL}.version": version}}


def got(role: str, v: Values, n: Values, file: str, arguments: Values) -> Values:
    """The image of a role's release, built, pulled or loaded as its inputs say, with what to do where that fails.

    `v`: the role's inputs less their prefix; `n`: its names, of which image, image_file, wanted and release_dir are
    read; `file` and `arguments`: its recipe in the release, and what that takes of its own.
    """
    made = named(n["image"], n["wanted"])
    if v["image_source"] == "pull":
        return {
            **made,
            "pull": v["image"],
            "hint": f"{role}_image is where it is pulled from: the node must reach that registry, or set "
            f"{role}_image_source to build or load.",
        }
    if v["image_source"] == "load":
        return {
            **made,
            "load": v["image_archive"],
            "load_file": n["image_file"],
            "hint": f"{role}_image_archive is the file on the control machine; `make image` writes one that "
            f"holds {n['image']}.",
        }
    return {**made, **built(role, v, n, file, arguments)}


def built(role: str, v: Values, n: Values, file: str, arguments: Values) -> Values:
    """What it is built from; its label `revision` is the digest of all that, so that another one is built anew."""
    digest = artifact_of(n["wanted"], Path(v["artifact_dir"]))["digest"]
    revision = hashlib.sha256("".join([digest, v["base_image"], *arguments.values()]).encode()).hexdigest()
    return {
        "build": n["release_dir"],
        "file": file,
        "network": "host",
        "labels": {f"{LABEL}.version": n["wanted"], f"{LABEL}.revision": revision},
        "arguments": {
            "BASE_IMAGE": v["base_image"],
            "SOURCE": ".",
            "VERSION": n["wanted"],
            "REVISION": revision,
            **arguments,
        },
        "hint": f"It is built on the node from {role}_base_image ({v['base_image']}) and its packages: the node must "
        f"reach both, or set {role}_image_source to pull or load.",
    }
