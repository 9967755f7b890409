"""Docker, its images and its containers on this very machine: what Ansible's roles do from elsewhere."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from plugins.converge import fetch
from plugins.converge.bundle import MOST_IMAGE
from plugins.converge.programs import FailedError, install_packages, run
from plugins.desired import kinds
from plugins.desired.docker_engine import complaint, outdated
from plugins.modules import host_files, host_state

IMAGE_SECONDS = 1800
CODENAME = "<codename>"  # of the node's release of its distribution
Item = dict[str, Any]
Serve = Callable[[str, int], Iterator[bytes]]


def lacking(docker: Item) -> list[str]:
    """What is wrong with the Docker that a bundle wants, in words; nothing where it wants none."""
    wrong = complaint(host_state.look({"docker": True})["docker"]) if docker else ""
    return [wrong] if wrong else []


def bring_docker(docker: Item) -> list[str]:
    """Install a Docker where none is, or none that is new enough; what was done. Raises FailedError."""
    if not (wrong := lacking(docker)):
        return []
    system = host_state.look({})["os"]
    packages: list[str] = docker["packages"].get(system["id"], [])
    if not packages:
        raise FailedError(f"{wrong[0]}; docker_host_source is {docker['source']}, which brings none on {system['id']}")
    tell_apt(docker["files"].get(system["id"], []), system["codename"])
    if docker["source"] == "distribution":
        candidates = host_state.look({"candidates": packages})["candidates"]
        for words in outdated(packages, candidates):
            raise FailedError(f"{wrong[0]}; docker_host_source is distribution, and this one has {words}")
    install_packages(packages)
    if wrong := lacking(docker):
        raise FailedError(wrong[0])
    return packages


def tell_apt(files: list[Item], codename: str) -> None:
    """Where Docker's own packages lie, their key, and the version to stay with. Raises FailedError."""
    told = [{**item, "content": item["content"].replace(CODENAME, codename)} for item in files]
    made = host_files.make({"files": told, "check": False, "diff": False})
    if made.get("failed"):
        raise FailedError(made["msg"])


def have_image(item: Item, serve: Serve) -> None:
    """Build, pull or load an image, as its item says. Raises FailedError, with what to do about it."""
    try:
        if "build" in item:
            build(item)
        elif "pull" in item:
            docker("image", "pull", item["pull"])
            docker("image", "tag", item["pull"], item["name"])
        elif "load" in item:
            load(item, serve)
        seen = host_state.look({"images": [item["name"]]})
        if wrong := kinds.image(item, seen):
            raise FailedError(wrong)
    except FailedError as error:
        raise FailedError(f"image {item['name']} cannot be had: {error}. {item.get('hint', '')}".strip()) from error


def build(item: Item) -> None:
    """From one of the node's directories, and a base image that it reaches."""
    arguments = [f"--build-arg={name}={value}" for name, value in item["arguments"].items()]
    recipe = ["--file", f"{item['build']}/{item['file']}", "--network", item["network"], "--tag", item["name"]]
    docker("build", "--pull=false", *recipe, *arguments, item["build"])


def load(item: Item, serve: Serve) -> None:
    """From a file that lies where bundles are served."""
    said, file = item["load"], Path(item["load_file"])
    file.unlink(missing_ok=True)
    try:
        fetch.saved(serve(said["file"], min(said["bytes"], MOST_IMAGE)), said["sha256"], file)
        docker("image", "load", "--input", str(file))
    finally:
        file.unlink(missing_ok=True)


def start(item: Item) -> None:
    """A Compose project runs with the image and the configuration that are there."""
    project = ["--project-directory", item["directory"], "--project-name", item["name"], "--progress", "quiet"]
    anew = ["--force-recreate"] if item.get("recreate") else []
    docker("compose", *project, "up", "--detach", "--no-build", "--pull", "never", "--remove-orphans", *anew)


def end(item: Item) -> None:
    """A Compose project is gone."""
    docker("compose", "--project-name", item["name"], "down", "--remove-orphans")


def remove_images(images: list[str]) -> None:
    """Images are gone, whoever named them too."""
    for image in images:
        docker("image", "rm", "--force", image)


def docker(*words: str) -> None:
    """Docker's own program; what it keeps for itself it forgets. Raises FailedError."""
    with tempfile.TemporaryDirectory(prefix="speedtest-docker-") as scratch:
        own = {"BUILDX_CONFIG": os.path.join(scratch, "buildx"), "BUILDKIT_PROGRESS": "plain", "DOCKER_BUILDKIT": "1"}
        run(["docker", *words], IMAGE_SECONDS, environment=own)
