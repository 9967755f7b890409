"""The logger's image for a registry, of two architectures: `make arm-image`, which needs root and qemu, and takes long.

BuildKit makes it on one machine, as the workflow does, arm64 emulated; the base image that it builds from lies in a
registry of the lab. CI's own scripts name its tags and push them there; by its digest another machine pulls it, and
measures with it.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from arm import nothing_is_left
from builders import ROOT

from lab import emulation, images, nodes
from lab.host import prepare
from lab.lab import Lab, load, registry_lock
from lab.scenarios import lab_of
from speedtest_logger import __version__

HUB, BUILDER, NODE = "hub", "builder", "attic"  # the hub is the registry and the target
ARCHITECTURES = ("amd64", "arm64")
BASE = f"{HUB}:5000/debian"
DOWN, UP = 20, 10  # Mbit/s
REGISTRY = {
    "version": 0.1,
    "storage": {"filesystem": {"rootdirectory": "/var/lib/docker-registry"}},
    "http": {"addr": ":5000"},
}
# images of several architectures need containerd's store
DAEMON = {"features": {"containerd-snapshotter": True}, "insecure-registries": [f"{HUB}:5000"]}
INDEX, ONE = "application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"
ENVIRONMENT = {
    "SPEEDTEST_NODE": NODE,
    "SPEEDTEST_ENGINES": "iperf3",
    "SPEEDTEST_IPERF3_SERVERS": HUB,
    "SPEEDTEST_DURATION_SECONDS": "5",
    "SPEEDTEST_MEASURE_TIMEOUT_SECONDS": "120",
}


def on(lab: Lab, machine: str, script: str, stdin: Path | None = None) -> str:
    """What a script prints that root runs on a machine; it must succeed."""
    argv = [*lab.ssh(lab.node(machine)), f"sudo bash -euo pipefail -c {shlex.quote(script)}"]
    with (stdin or Path(os.devnull)).open("rb") as stream:
        done = subprocess.run(argv, stdin=stream, capture_output=True, text=True, check=False)
    print(f"{machine}: {script}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    assert done.returncode == 0
    return done.stdout


@pytest.fixture(scope="module")
def bases() -> Iterator[dict[str, Path]]:
    """The Debian that each architecture's image is built from; arm64 is emulated for as long as the tests last."""
    prepare()
    with emulation.emulated("arm64"):
        with registry_lock():
            native = images.build_container_base()
        with registry_lock("lock-container-arm64"):
            foreign = emulation.build_container_base("arm64")
        yield dict(zip(ARCHITECTURES, (native, foreign), strict=True))
    nothing_is_left()


@pytest.fixture(scope="module")
def lab(bases: dict[str, Path]) -> Iterator[Lab]:
    """A registry, a machine that builds, and one that measures behind a line."""
    name = lab_of("arm-image")
    command = [sys.executable, "-m", "lab"]
    wanted = (f"{HUB}:bookworm", f"{BUILDER}:trixie+docker", f"{NODE}:trixie+docker:{DOWN}/{UP}")
    subprocess.run([*command, "up", name, *wanted], cwd=ROOT, check=True)
    try:
        made = load(name)
        on(made, HUB, "apt-get -qq -y install docker-registry iperf3 && systemd-run --quiet --unit=target iperf3 -s")
        on(made, HUB, f"echo {shlex.quote(json.dumps(REGISTRY))} >/etc/docker/registry/config.yml")
        on(made, HUB, "systemctl restart docker-registry.service")
        for machine in (BUILDER, NODE):
            on(made, machine, f"mkdir /etc/docker && echo {shlex.quote(json.dumps(DAEMON))} >/etc/docker/daemon.json")
            on(made, machine, "apt-get -qq -y --no-install-recommends install docker.io docker-cli docker-buildx make")
        yield made
    finally:
        subprocess.run([*command, "down", name], cwd=ROOT, check=True)


@pytest.fixture(scope="module")
def archive(lab: Lab, bases: dict[str, Path]) -> Path:
    """What `make image-index` leaves; no registry has the scanner here that makes an SBOM."""
    for architecture, base in bases.items():
        on(lab, BUILDER, f"docker import --platform linux/{architecture} - {BASE}:{architecture}", stdin=base)
        on(lab, BUILDER, f"docker push --quiet {BASE}:{architecture}")
    each = " ".join(f"{BASE}:{architecture}" for architecture in ARCHITECTURES)
    on(lab, BUILDER, f"docker manifest create --insecure {BASE}:trixie-slim {each}")
    on(lab, BUILDER, f"docker manifest push --insecure {BASE}:trixie-slim")
    place = nodes.root(lab, lab.node(BUILDER)) / "root/build"
    place.mkdir()
    copied = ["tar", "--create", "--exclude=__pycache__", "Makefile", "src", "docker"]
    with subprocess.Popen(copied, cwd=ROOT, stdout=subprocess.PIPE) as packed:
        subprocess.run(["tar", "--extract", "--directory", place], stdin=packed.stdout, check=True)
    platforms = ",".join(f"linux/{architecture}" for architecture in ARCHITECTURES)
    options = f"--network host --build-arg BASE_IMAGE={BASE}:trixie-slim"
    on(
        lab,
        BUILDER,
        f"make -C /root/build image-index PLATFORMS={platforms} SBOM=false REVISION={revision()} "
        f"BUILD_OPTIONS='{options}'",
    )
    return place / f"dist/speedtest-logger-{__version__}.oci.tar"


def revision() -> str:
    """The checkout's commit."""
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def script(name: str, **variables: str) -> list[str]:
    """What one of CI's scripts prints, told what GitHub tells it."""
    done = subprocess.run(
        [ROOT / ".github/scripts" / name], capture_output=True, text=True, check=False, env={**os.environ, **variables}
    )
    print(f"{name}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    assert done.returncode == 0
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def pushed(lab: Lab, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The digest of each tag that a release of this version gets."""
    event = {"GITHUB_EVENT_NAME": "push", "GITHUB_REF": f"refs/tags/v{__version__}", "GITHUB_SHA": revision()}
    [line] = script("image-tags", **event, GITHUB_OUTPUT="")
    [push] = json.loads(line.removeprefix("pushes="))
    registry = f"{lab.address(lab.node(HUB))}:5000"
    home = tmp_path_factory.mktemp("home")
    trusted = home / ".config/containers/registries.conf"
    trusted.parent.mkdir(parents=True)
    trusted.write_text(f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n', encoding="utf-8")
    place = {"IMAGE_ARCHIVE": str(archive), "IMAGE_REPOSITORY": f"{registry}/speedtest-logger"}
    lines = script("push-image", **place, IMAGE_TAGS=push["tags"], HOME=str(home))
    assert all(each.startswith(f"{registry}/speedtest-logger:") for each in lines)
    return dict(each.removeprefix(f"{registry}/speedtest-logger:").split("@") for each in lines)


@pytest.fixture(scope="module")
def image(lab: Lab, pushed: dict[str, str]) -> str:
    """Its name on the machine that measures, by digest."""
    return f"{HUB}:5000/speedtest-logger@{pushed[__version__]}"


def run(lab: Lab, image: str, architecture: str, *words: str, options: str = "") -> str:
    """A program of the image on the machine that measures, as the image's own account."""
    return on(lab, NODE, f"docker run --rm --platform linux/{architecture} {options} {image} {shlex.join(words)}")


def test_all_tags_of_a_release_are_one_digest(pushed):
    major, minor, _ = __version__.split(".")
    assert set(pushed) == {__version__, f"{major}.{minor}", major, "latest-production"}
    assert len(set(pushed.values())) == 1


def test_the_index_has_each_architecture_and_how_it_was_built(lab, pushed):
    index = json.loads(on(lab, HUB, f"curl -sf -H 'Accept: {INDEX}' {manifest(pushed[__version__])}"))
    told = [(each["platform"]["architecture"], each.get("annotations", {})) for each in index["manifests"]]
    assert sorted(name for name, _ in told if name != "unknown") == sorted(ARCHITECTURES)
    kinds = [notes.get("vnd.docker.reference.type") for name, notes in told if name == "unknown"]
    assert kinds == ["attestation-manifest"] * len(ARCHITECTURES)
    for each in index["manifests"]:
        found = json.loads(on(lab, HUB, f"curl -sf -H 'Accept: {ONE}' {manifest(each['digest'])}"))
        if each["platform"]["architecture"] == "unknown":
            predicates = [layer["annotations"]["in-toto.io/predicate-type"] for layer in found["layers"]]
            assert any(predicate.startswith("https://slsa.dev/provenance/") for predicate in predicates)


def manifest(digest: str) -> str:
    """Where the registry has it."""
    return f"http://127.0.0.1:5000/v2/speedtest-logger/manifests/{digest}"


@pytest.mark.parametrize(("architecture", "machine"), [("amd64", "x86_64"), ("arm64", "aarch64")])
def test_a_machine_pulls_its_own_by_digest(lab, image, architecture, machine):
    on(lab, NODE, f"docker pull --quiet --platform linux/{architecture} {image}")
    assert run(lab, image, architecture, "-m", options="--entrypoint uname").strip() == machine
    assert run(lab, image, architecture, "--version").split() == ["speedtest-logger", __version__]


def test_on_arm64_it_measures_with_its_own_iperf3(lab, image):
    own = "print(open(__import__('shutil').which('iperf3'), 'rb').read(20)[18])"
    assert run(lab, image, "arm64", "-c", own, options="--entrypoint python3").strip() == "183"  # ELF's AArch64
    variables = " ".join(f"--env {name}={value}" for name, value in ENVIRONMENT.items())
    row = json.loads(run(lab, image, "arm64", "measure", "--json", options=f"--network host {variables}"))
    print(row)
    wanted = (NODE, "ok", "iperf3", "compose", __version__)
    assert tuple(row[name] for name in ("node", "status", "engine", "runtime", "logger_version")) == wanted
    assert 0.6 * DOWN * 1e6 < row["download_bps"] < 1.05 * DOWN * 1e6
    assert 0.6 * UP * 1e6 < row["upload_bps"] < 1.05 * UP * 1e6
