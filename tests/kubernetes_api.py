"""The chart's objects before a real API server: `make kubernetes-api`, in a network of its own.

It is of 1.20: CronJobs are batch/v1beta1 for it, and it knows no timeZone. What it judges beyond a schema: names that
belong together, values that exclude each other, policies.
"""

from __future__ import annotations

import copy
import json
import subprocess

import pytest
import yaml
from builders import ROOT

from lab import api_server

MANIFESTS = {
    "example": ROOT / "kubernetes/manifests/nodes.yaml",
    "with archive": ROOT / "kubernetes/manifests/with-archive/all.yaml",
}


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory):
    with api_server.running(tmp_path_factory.mktemp("api"), ROOT / ".cache/kubernetes/kubectl") as argv:
        made = subprocess.run([*argv, "create", "namespace", "speedtest"], capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr
        yield [*argv, "--namespace", "speedtest"]


def objects(name: str) -> list[dict]:
    """The chart's objects, as this old server knows them."""
    found = [each for each in yaml.safe_load_all(MANIFESTS[name].read_text()) if each]
    for each in found:
        if each["kind"] == "CronJob":
            each["apiVersion"] = "batch/v1beta1"
            del each["spec"]["timeZone"]
    return found


def applied(kubectl: list[str], what: list[dict], *options: str) -> subprocess.CompletedProcess[str]:
    listed = {"apiVersion": "v1", "kind": "List", "items": what}
    argv = [*kubectl, "apply", *options, "--filename", "-"]
    return subprocess.run(argv, input=json.dumps(listed), capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", MANIFESTS)
def test_it_takes_every_object(kubectl, name):
    what = objects(name)
    done = applied(kubectl, what, "--dry-run=server", "--output", "name")
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == len(what)


def lost(said, kept, path=""):
    """What was said and is not kept."""
    if isinstance(said, dict) and isinstance(kept, dict):
        for name, value in said.items():
            if value not in ({}, [], None):
                yield from lost(value, kept.get(name), f"{path}.{name}")
    elif isinstance(said, list) and isinstance(kept, list) and len(said) == len(kept):
        for number, (left, right) in enumerate(zip(said, kept, strict=True)):
            yield from lost(left, right, f"{path}[{number}]")
    elif said != kept:
        yield f"{path}: {said!r} became {kept!r}"


def without_tmp(spec) -> None:
    spec["template"]["spec"]["volumes"].pop()


def strange(spec) -> None:
    spec["template"]["metadata"]["labels"] = {"x": "y"}


def spoilt(kind: str, change) -> list[dict]:
    found = copy.deepcopy([each for each in objects("with archive") if each["kind"] == kind])
    for each in found:
        change(each["spec"])
    return found


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("CronJob", lambda spec: spec.update(concurrencyPolicy="Forbidden"), 'Unsupported value: "Forbidden"'),
        ("CronJob", lambda spec: spec.update(schedule="61 * * * *"), "spec.schedule: Invalid value"),
        ("Deployment", without_tmp, 'Not found: "tmp"'),
        ("StatefulSet", strange, "`selector` does not match"),
        ("Deployment", lambda spec: spec["strategy"].update(type="Once"), "spec.strategy: Unsupported value"),
        ("NetworkPolicy", lambda spec: spec["ingress"][0]["ports"].append({"port": "no port at all"}), "port"),
        ("Service", lambda spec: spec["ports"].append(dict(spec["ports"][0])), "Duplicate value"),
    ],
)  # fmt: skip
def test_it_refuses_what_no_schema_sees(kubectl, kind, change, words):
    done = applied(kubectl, spoilt(kind, change), "--dry-run=server")
    assert done.returncode != 0
    assert words in done.stderr


def test_what_it_keeps_is_what_was_said(kubectl):
    """Applied for real, and read back: no field was dropped, which a server does with those that it does not know."""
    what = objects("with archive")
    assert applied(kubectl, what).returncode == 0
    for each in what:
        argv = [*kubectl, "get", each["kind"], each["metadata"]["name"], "--output", "json"]
        kept = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
        assert list(lost({**each, "apiVersion": kept["apiVersion"]}, kept)) == []
