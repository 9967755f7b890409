"""The image without building it on the node: loaded from the control machine's file, or pulled from a registry."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from containers import CONTAINER, inspect
from fleet import attempt, login, on, playbook, recap

from speedtest_logger import __version__

pytestmark = pytest.mark.usefixtures("fast_line", "docker_may_restart")
NODE, HUB = "shed", "hub"
IMAGE = f"speedtest-logger:{__version__}"
REGISTRY = "hub:5000"
OPEN = {
    "version": 0.1,
    "storage": {"filesystem": {"rootdirectory": "/var/lib/docker-registry"}},
    "http": {"addr": ":5000"},
}
DAEMON = json.dumps({"docker_host_daemon": {"live-restore": True, "insecure-registries": [REGISTRY]}})


def forget_image() -> None:
    """The node as one that never had the image."""
    on(NODE, f"docker rm --force {CONTAINER}; docker image rm --force $(docker image ls --quiet speedtest-logger)")


def nodes(*variables: str) -> subprocess.CompletedProcess[str]:
    return playbook("playbooks/nodes.yml", *(f"--extra-vars={variable}" for variable in variables))


def assert_runs(image_id: str, *variables: str) -> None:
    """The container has that image, and another run changes nothing."""
    assert inspect(NODE)["Image"] == image_id
    again = nodes(*variables)
    assert again.returncode == 0, again.stdout[-3000:]
    assert sum(counts["changed"] for counts in recap(again).values()) == 0


@pytest.fixture(scope="module")
def image_id() -> str:
    return on(NODE, f"docker image inspect --format '{{{{.Id}}}}' {IMAGE}").strip()


@pytest.fixture(scope="module")
def image_file(tmp_path_factory, image_id) -> Path:
    """The image as a file on the control machine."""
    file = tmp_path_factory.mktemp("image") / "logger.image.tar.gz"
    with file.open("wb") as stream:
        subprocess.run([*login(NODE), f"sudo docker image save {IMAGE} | gzip --fast"], stdout=stream, check=True)
    return file


def test_a_full_disk_stops_the_run_and_what_runs_goes_on(image_file, image_id):
    """Docker's directory on a filesystem that is too small for the image, for as long as the run takes."""
    history = set(on(NODE, "find /var/lib/speedtest-telemetry/results -type f").split())
    on(NODE, "systemctl stop docker.socket docker.service && mount -t tmpfs -o size=60m none /var/lib/docker")
    on(NODE, "systemctl start docker.service")
    try:
        done = nodes("speedtest_logger_image_source=load", f"speedtest_logger_image_archive={image_file}")
        assert done.returncode != 0
        said = " ".join(done.stdout.split())
        assert f"image {IMAGE} cannot be had" in said
        assert "no space left on device" in said
        assert "nothing was lost" in said
    finally:
        on(NODE, "systemctl stop docker.socket docker.service; umount /var/lib/docker; systemctl start docker.service")
    assert history <= set(on(NODE, "find /var/lib/speedtest-telemetry/results -type f").split())
    assert inspect(NODE)["Image"] == image_id


def test_it_is_loaded_from_a_file(image_file, image_id):
    forget_image()
    chosen = ("speedtest_logger_image_source=load", f"speedtest_logger_image_archive={image_file}")
    done = nodes(*chosen)
    assert done.returncode == 0, done.stdout[-3000:]
    assert_runs(image_id, *chosen)
    assert attempt(NODE, "ls /var/tmp/*.image").returncode != 0


def test_it_is_pulled_by_its_digest(image_id):
    on(HUB, "apt-get -qq -y --no-install-recommends install docker-registry")
    on(
        HUB,
        f"printf '%s' '{json.dumps(OPEN)}' >/etc/docker/registry/config.yml; systemctl restart docker-registry.service",
    )
    done = nodes(DAEMON)
    assert done.returncode == 0, done.stdout[-3000:]
    pushed = on(
        NODE, f"docker tag {IMAGE} {REGISTRY}/speedtest-logger:x && docker push --quiet {REGISTRY}/speedtest-logger:x"
    )
    assert pushed
    digest = on(
        NODE, f"docker image inspect --format '{{{{index .RepoDigests 0}}}}' {REGISTRY}/speedtest-logger:x"
    ).strip()
    forget_image()
    chosen = (DAEMON, "speedtest_logger_image_source=pull", f"speedtest_logger_image={digest}")
    done = nodes(*chosen)
    assert done.returncode == 0, done.stdout[-3000:]
    assert_runs(image_id, *chosen)


def test_a_registry_that_does_not_have_it_is_named():
    missing = f"{REGISTRY}/speedtest-logger@sha256:{'0' * 64}"
    running = inspect(NODE)["Id"]
    done = nodes(DAEMON, "speedtest_logger_image_source=pull", f"speedtest_logger_image={missing}")
    assert done.returncode != 0
    said = " ".join(done.stdout.split())
    assert f"image {IMAGE} cannot be had" in said
    assert "speedtest_logger_image is where it is pulled from" in said
    assert inspect(NODE)["Id"] == running
