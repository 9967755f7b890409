"""What host_state plans for Docker, what is left alone in daemon.json, and what Docker's words become."""

from __future__ import annotations

import json

import pytest
from builders import load, observed_file, seen

from plugins.desired import docker_engine
from plugins.desired import plan as planning

docker = load("plugins/filter/docker.py")
module = load("plugins/modules/host_state.py")
VERSION = "org.opencontainers.image.version"
PROJECT = {"name": "speedtest", "container": "logger", "image": "logger:1", "label": "config", "digest": "abc"}
DESIRED = {"images": [{"name": "logger:1", "labels": {VERSION: "1"}}], "projects": [PROJECT]}


def docker_with(image=None, container=None, repositories=None):
    return seen(
        docker={"images": {"logger:1": image}, "containers": {"logger": container}, "repositories": repositories or {}}
    )


IMAGE = {"id": "sha256:1", "digests": [], "labels": {VERSION: "1"}}
CONTAINER = {"running": True, "health": "healthy", "image": "sha256:1", "labels": {"config": "abc"}}


def test_a_container_as_it_should_be_is_no_difference():
    assert not planning.plan(DESIRED, docker_with(IMAGE, CONTAINER))["differs"]


def test_a_host_without_docker_lacks_image_and_container():
    assert planning.plan(DESIRED, seen(docker=None))["drift"] == [
        "image logger:1 is missing",
        "container logger is missing",
    ]


@pytest.mark.parametrize(
    ("image", "container", "words"),
    [
        ({"labels": {VERSION: "0"}}, {}, "image logger:1: version is 0, not 1"),
        ({}, {"running": False}, "container logger does not run"),
        ({}, {"labels": {}}, "container logger has another configuration"),
        ({}, {"image": "sha256:2"}, "container logger has another image than logger:1"),
    ],
)
def test_each_difference_of_a_container_is_named(image, container, words):
    assert planning.plan(DESIRED, docker_with({**IMAGE, **image}, {**CONTAINER, **container}))["drift"] == [words]


def test_an_image_that_is_got_anew_has_its_container_made_anew_in_the_same_run():
    """Compared before the image is built, the container is as it should be: it has the image that goes."""
    plan = planning.plan(DESIRED, docker_with({**IMAGE, "labels": {VERSION: "0"}}, CONTAINER))
    assert plan["images"] == DESIRED["images"]
    assert plan["projects"] == [PROJECT]
    assert planning.plan(DESIRED, docker_with(IMAGE, CONTAINER))["projects"] == []


def test_what_another_runtime_left_behind_is_named_and_nothing_where_docker_never_was():
    gone = {"absent_projects": [{"name": "speedtest", "container": "logger"}], "absent_images": ["logger"]}
    left = docker_with(None, CONTAINER, {"logger": ["1f", "2e"]})
    plan = planning.plan(gone, left)
    assert plan["absent_projects"] == gone["absent_projects"]
    assert plan["absent_images"] == ["1f", "2e"]
    assert not planning.plan(gone, seen(docker=None))["differs"]


DAEMON = {"path": "/etc/docker/daemon.json", "owner": "root", "group": "root", "mode": "0644", "merge": {"a": 1}}


def daemon(text):
    paths = {} if text is None else {DAEMON["path"]: observed_file(text.encode())}
    return seen(paths=paths, texts={DAEMON["path"]: text})


def test_foreign_keys_in_daemon_json_stay():
    (file,) = planning.plan({"files": [DAEMON]}, daemon('{"dns": ["192.0.2.53"], "a": 0}'))["files"]
    assert json.loads(file["content"]) == {"dns": ["192.0.2.53"], "a": 1}
    (file,) = planning.plan({"files": [DAEMON]}, daemon(None))["files"]
    assert json.loads(file["content"]) == {"a": 1}


def test_daemon_json_that_says_it_all_keeps_its_own_layout():
    assert not planning.plan({"files": [DAEMON]}, daemon('{"b":2,"a":1}'))["differs"]


@pytest.mark.parametrize("text", ['{"a": 1,}', "[]", "a: 1"])
def test_daemon_json_that_cannot_be_read_is_not_overwritten(text):
    with pytest.raises(planning.PlanError, match=r"/etc/docker/daemon\.json: seen"):
        planning.plan({"files": [DAEMON]}, daemon(text))


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("26.1.5+dfsg1", [26, 1, 5]),
        ("5:28.0.1-1~debian.12~bookworm", [28, 0, 1]),
        ("v2.26.1", [2, 26, 1]),
        ("2.26.1-4", [2, 26, 1]),
        ("20.10.24+dfsg1-1+deb12u1", [20, 10, 24]),
        ("", [0]),
        (None, [0]),
    ],
)
def test_version_numbers(text, numbers):
    assert docker_engine.numbers(text) == numbers


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            '#2 ERROR: failed to do request: Head "https://r/": dial tcp: lookup r: no such host\n------\n'
            "ERROR: failed to solve: debian:x: failed to resolve source metadata for docker.io/library/debian:x",
            "failed to resolve source metadata",
        ),
        ("#9 12.3 E: Version '3.99' for 'iperf3' was not found\nERROR: process did not complete", "Version '3.99'"),
        ("write /var/lib/docker/tmp/x: no space left on device", "no space left on device"),
    ],
)
def test_why_an_image_cannot_be_had(said, told):
    assert told in docker.image_problem({"stderr": said, "msg": "non-zero return code"})


def test_an_image_that_came_but_is_another_one_is_named():
    assert docker.image_problem({"plan": {"drift": ["image logger:1: version is 0, not 1"]}}) == (
        "image logger:1: version is 0, not 1"
    )
    assert (
        docker.image_problem({"msg": "Could not find or access 'dist/x.tar'"})
        == "Could not find or access 'dist/x.tar'"
    )


def test_images_of_other_releases():
    listed = ["a1 0.1.0", "a1 old-name", "b2 0.2.0", "c3 0.0.9", "c3 0.0.8"]
    assert docker.other_images(listed, ["0.1.0", "0.2.0"]) == ["c3"]
    assert docker.other_images([], ["0.1.0"]) == []


def test_candidates_are_read_from_apt(monkeypatch):
    said = "docker.io:\n  Installed: (none)\n  Candidate: 26.1.5\n  Version table:\nnone:\n  Candidate: (none)\n"
    monkeypatch.setattr(module, "output_of", lambda _: said)
    assert module.candidate_versions(["docker.io", "none", "never"]) == {
        "docker.io": "26.1.5",
        "none": None,
        "never": None,
    }
