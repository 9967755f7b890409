"""The chart, by Helm and the schemas of Kubernetes themselves: `make kubernetes`, which fetches both."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from builders import ROOT

from speedtest_logger import __version__
from speedtest_logger.node import config
from speedtest_logger.schedule import Schedule

CHART, EXAMPLE = ROOT / "kubernetes/chart", ROOT / "kubernetes/example-values.yaml"
MANIFESTS = ROOT / "kubernetes/manifests"
VERSIONS = ("1.27", "1.34", "1.37")
CRON = [s for s in range(60, 86_401, 60) if 86_400 % s == 0 and (3600 % s == 0 or s % 3600 == 0)]


def run(*argv: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in argv], cwd=ROOT, capture_output=True, text=True, check=False)


def rendered(values: Path = EXAMPLE, *options: str) -> list[dict]:
    done = run("helm", "template", "speedtest", CHART, "--values", values, *options)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def of_kind(objects: list[dict], kind: str) -> dict[str, dict]:
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def pod(cron_job: dict) -> dict:
    return cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("values", [(), ("--values", EXAMPLE)], ids=["defaults", "example"])
def test_helm_finds_nothing_wrong(values):
    done = run("helm", "lint", "--strict", CHART, *values)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_manifests_are_what_the_chart_makes_of_the_example():
    made = run("helm", "template", "speedtest", CHART, "--values", EXAMPLE).stdout
    assert (MANIFESTS / "nodes.yaml").read_text() == made, "run `make manifests`"


def test_kubectl_builds_the_manifests_with_their_namespace():
    done = run("kubectl", "kustomize", MANIFESTS)
    assert done.returncode == 0, done.stderr
    built = [each for each in yaml.safe_load_all(done.stdout) if each["kind"] != "Namespace"]
    assert {each["metadata"]["namespace"] for each in built} == {"speedtest"}
    assert len(built) == len(rendered())


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_field(version):
    files = (MANIFESTS / "nodes.yaml", MANIFESTS / "namespace.yaml")
    done = run("kubernetes-validate", "--strict", "--kubernetes-version", version, *files)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_field_that_is_misspelt_is_seen(tmp_path):
    broken = tmp_path / "nodes.yaml"
    broken.write_text((MANIFESTS / "nodes.yaml").read_text().replace("concurrencyPolicy", "concurencyPolicy"))
    done = run("kubernetes-validate", "--strict", "--kubernetes-version", VERSIONS[0], broken)
    assert done.returncode != 0
    assert "concurencyPolicy" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("nodes[0].intervalSeconds=5400", "whole hours that divide a day"),
        ("nodes[0].intervalSeconds=420", "an interval that divides an hour"),
        ("nodes[0].offsetSeconds=137", "multipleOf: got 137, want 60"),
        ("nodes[0].name=Rack", "does not match pattern"),
        ("nodes[0].name=cellar", "two have the name cellar"),
        ("nodes[0].location=123", "location"),
        ("nodes[0].intervallSeconds=60", "'intervallSeconds' not allowed"),
        ("image=", "image is empty: set the image with its tag or digest"),
        ("image=registry.example.org/speedtest-logger", "does not match pattern"),
        ("archive.knownHosts=", "nothing is trusted unseen"),
        ("archive.transport=ftp", "must be one of 'ssh', 'https'"),
        ("settings.SPEEDTEST_NONSENSE=1", "'SPEEDTEST_NONSENSE' not allowed"),
        ("settings.SPEEDTEST_STATE_DIR=/tmp", "'SPEEDTEST_STATE_DIR' not allowed"),
        ("settings.SPEEDTEST_PAUSED=maybe", "must be one of 'true', 'false'"),
        ("storage.size=lots", "does not match pattern"),
    ],
)
def test_what_is_wrong_is_refused_in_words(change, words):
    done = run("helm", "template", "speedtest", CHART, "--values", EXAMPLE, "--set", change)
    assert done.returncode != 0
    assert words in done.stderr


def test_cron_says_what_schedule_cron_says(tmp_path):
    """Every interval that cron can say, each at its first, its last and one other offset."""
    nodes = [
        {"name": f"n{interval}-{offset}", "intervalSeconds": interval, "offsetSeconds": offset}
        for interval in CRON
        for offset in sorted({0, interval - 60, 7 * 60 % interval, (interval // 60 * 2 // 3) * 60})
    ]
    values = tmp_path / "values.yaml"
    values.write_text(json.dumps({"image": "x:1", "nodes": nodes}))
    jobs = of_kind(rendered(values), "CronJob")
    assert len(jobs) == len(nodes) > 60
    for node in nodes:
        wanted = Schedule(node["intervalSeconds"], node["offsetSeconds"]).cron()
        assert jobs[f"speedtest-{node['name']}"]["spec"]["schedule"] == wanted


def test_slots_are_in_utc_once_and_never_twice_at_a_time():
    for job in of_kind(rendered(), "CronJob").values():
        spec = job["spec"]
        assert (spec["timeZone"], spec["concurrencyPolicy"]) == ("Etc/UTC", "Forbid")
        assert spec["jobTemplate"]["spec"]["backoffLimit"] == 0
        assert pod(job)["restartPolicy"] == "Never"


def test_a_pod_may_do_nothing_but_use_the_network():
    for job in of_kind(rendered(), "CronJob").values():
        spec = pod(job)
        assert spec["securityContext"]["runAsNonRoot"]
        assert not spec["automountServiceAccountToken"]
        for container in [*spec["initContainers"], *spec["containers"]]:
            confined = container["securityContext"]
            assert confined["readOnlyRootFilesystem"]
            assert not confined["allowPrivilegeEscalation"]
            assert confined["capabilities"] == {"drop": ["ALL"]}
            assert "privileged" not in confined


def test_no_service_of_the_cluster_becomes_a_setting():
    """A Service named speedtest-archive has the kubelet set SPEEDTEST_ARCHIVE_PORT=tcp://…, which is a setting."""
    assert "SPEEDTEST_ARCHIVE_PORT" in {f"{config.PREFIX}{name.upper()}" for name in vars(config.Settings(node="x"))}
    assert [pod(job)["enableServiceLinks"] for job in of_kind(rendered(), "CronJob").values()] == [False, False]


def test_the_node_takes_its_settings():
    """What the chart makes is read by the node itself, as the container's environment."""
    objects = rendered()
    maps = of_kind(objects, "ConfigMap")
    for name, job in of_kind(objects, "CronJob").items():
        image = {"SPEEDTEST_RUNTIME": "compose"}  # what docker/Dockerfile.logger says
        settings = config.load({**image, **maps[name]["data"]})
        assert settings.runtime == "kubernetes"
        assert Schedule(settings.interval_seconds, settings.offset_seconds).cron() == job["spec"]["schedule"]
        mounts = {each["mountPath"] for each in pod(job)["containers"][0]["volumeMounts"]}
        for file in (settings.state_dir, settings.log_file, settings.key_file, settings.known_hosts_file):
            assert any(str(file).startswith(place) for place in mounts)


def test_the_volume_outlives_the_release():
    for volume in of_kind(rendered(), "PersistentVolumeClaim").values():
        assert volume["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_an_identity_from_a_secret_can_be_read_by_the_account_and_is_not_its_own():
    job = of_kind(rendered(EXAMPLE, "--set", "nodes[0].identitySecret=rack-key"), "CronJob")["speedtest-rack"]
    [secret] = [each["secret"] for each in pod(job)["volumes"] if each["name"] == "identity"]
    assert secret == {"secretName": "rack-key", "defaultMode": 0o440}
    assert pod(job)["securityContext"]["fsGroup"] == 471


def test_without_the_host_s_network():
    for job in of_kind(rendered(EXAMPLE, "--set", "hostNetwork=false"), "CronJob").values():
        assert (pod(job)["hostNetwork"], pod(job)["dnsPolicy"]) == (False, "ClusterFirst")


def test_every_value_has_its_row_in_the_schema():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    known = json.loads((CHART / "values.schema.json").read_text())["properties"]
    assert set(known) - {"global"} == set(values)


def test_the_chart_is_of_this_version():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__
    assert yaml.safe_load(EXAMPLE.read_text())["image"].endswith(f":{__version__}")
