"""The chart, by Helm and the schemas of Kubernetes themselves: `make kubernetes`, which fetches both."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from builders import ROOT

from speedtest_logger import __version__
from speedtest_logger.archive.arrive import http_request, tokens
from speedtest_logger.dashboard import settings as dashboard_settings
from speedtest_logger.node import config
from speedtest_logger.schedule import Schedule

CHART, EXAMPLE = ROOT / "kubernetes/chart", ROOT / "kubernetes/example-values.yaml"
MANIFESTS = ROOT / "kubernetes/manifests"
ALL = ROOT / "kubernetes/example-archive-values.yaml"  # archive and dashboard in the cluster too
RENDERED = {EXAMPLE: MANIFESTS / "nodes.yaml", ALL: MANIFESTS / "with-archive/all.yaml"}
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


def pod(owner: dict) -> dict:
    """What an object's pods are made of."""
    spec = owner["spec"]
    return (spec["jobTemplate"]["spec"] if owner["kind"] == "CronJob" else spec)["template"]["spec"]


def pods(values: Path) -> dict[str, dict]:
    """Those of all objects that have some, by kind and name."""
    objects = rendered(values)
    kinds = ("CronJob", "StatefulSet", "Deployment")
    return {f"{kind} {name}": pod(each) for kind in kinds for name, each in of_kind(objects, kind).items()}


@pytest.mark.parametrize(
    "values", [(), ("--values", EXAMPLE), ("--values", ALL)], ids=["defaults", "example", "with archive"]
)
def test_helm_finds_nothing_wrong(values):
    done = run("helm", "lint", "--strict", CHART, *values)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("values", "file"), RENDERED.items(), ids=["example", "with archive"])
def test_the_manifests_are_what_the_chart_makes_of_the_example(values, file):
    made = run("helm", "template", "speedtest", CHART, "--values", values).stdout
    assert file.read_text() == made, "run `make manifests`"


@pytest.mark.parametrize(("values", "file"), RENDERED.items(), ids=["example", "with archive"])
def test_kubectl_builds_the_manifests_with_their_namespace(values, file):
    done = run("kubectl", "kustomize", file.parent)
    assert done.returncode == 0, done.stderr
    built = [each for each in yaml.safe_load_all(done.stdout) if each["kind"] != "Namespace"]
    assert {each["metadata"]["namespace"] for each in built} == {"speedtest"}
    assert len(built) == len(rendered(values))


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_knows_every_field(version):
    files = (*RENDERED.values(), MANIFESTS / "namespace.yaml")
    done = run("kubernetes-validate", "--strict", "--kubernetes-version", version, *files)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_field_that_is_misspelt_is_seen(tmp_path):
    broken = tmp_path / "nodes.yaml"
    broken.write_text((MANIFESTS / "nodes.yaml").read_text().replace("concurrencyPolicy", "concurencyPolicy"))
    done = run("kubernetes-validate", "--strict", "--kubernetes-version", VERSIONS[0], broken)
    assert done.returncode != 0
    assert "concurencyPolicy" in done.stdout + done.stderr


def is_refused(values, change, words):
    done = run("helm", "template", "speedtest", CHART, "--values", values, "--set", change)
    assert done.returncode != 0
    assert words in done.stderr


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
    is_refused(EXAMPLE, change, words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("archive.certificateSecret=", "archive.certificateSecret is empty: tokens go over no network without TLS"),
        ("archive.transport=ssh", "is delivered to by https alone; set it to https"),
        ("archive.host=nas.example.org", "nodes deliver to the Service that is made here; leave it empty"),
        ("archive.tokens.rack=secret", "does not match pattern"),
        ("archive.tokens.Rack=" + "0" * 64, "invalid propertyName 'Rack'"),
        ("archive.enabled=false", "set archive.enabled too"),
        ("archive.replicas=2", "'replicas' not allowed"),
        ("dashboardImage=", "archive.enabled needs the image of docker/Dockerfile.dashboard"),
        ("dashboardImage=registry.example.org/speedtest-dashboard", "does not match pattern"),
        ("dashboard.usersSecret=", "without users everybody who reaches the pod could read everything"),
        ("dashboard.frontAddresses=null", "set the addresses of its pods or their network"),
        ("dashboard.frontAddresses[0]=*", "does not match pattern"),
        ("dashboard.frontNamespace=", "nobody but the Ingress controller may come from dashboard.frontAddresses"),
        ("dashboard.ingress.tlsSecret=", "passwords go over no network without TLS"),
        ("dashboard.host=", "an Ingress needs dashboard.host"),
        ("dashboard.lists[0]=users", "must be one of 'keys', 'shares'"),
        ("nodes[0].name=archive", "archive is what the archive here is made of"),
    ],
)
def test_what_is_wrong_with_an_archive_here_is_refused_in_words(change, words):
    is_refused(ALL, change, words)


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
    found = pods(ALL) | pods(EXAMPLE)
    assert len(found) == 4
    for spec in found.values():
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not spec["automountServiceAccountToken"]
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            confined = container["securityContext"]
            assert confined["readOnlyRootFilesystem"]
            assert not confined["allowPrivilegeEscalation"]
            assert confined["capabilities"] == {"drop": ["ALL"]}
            assert "privileged" not in confined
            assert container["resources"]["limits"]["memory"]


def test_no_service_of_the_cluster_becomes_a_setting():
    """A Service named speedtest-archive has the kubelet set SPEEDTEST_ARCHIVE_PORT=tcp://…, which is a setting."""
    assert "SPEEDTEST_ARCHIVE_PORT" in {f"{config.PREFIX}{name.upper()}" for name in vars(config.Settings(node="x"))}
    assert {spec["enableServiceLinks"] for spec in (pods(ALL) | pods(EXAMPLE)).values()} == {False}


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
    claims = of_kind(rendered(ALL), "PersistentVolumeClaim")
    assert set(claims) == {"speedtest-rack", "speedtest-archive", "speedtest-dashboard"}
    for volume in claims.values():
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
    for values in (EXAMPLE, ALL):
        found = yaml.safe_load(values.read_text())
        images = [found[name] for name in ("image", "dashboardImage") if name in found]
        assert all(image.endswith(f":{__version__}") for image in images)


def test_nodes_deliver_to_the_archive_here_and_trust_its_authority_alone():
    objects = rendered(ALL)
    settings = config.load(of_kind(objects, "ConfigMap")["speedtest-rack"]["data"])
    [service] = [each for name, each in of_kind(objects, "Service").items() if name == settings.archive_host]
    [port] = service["spec"]["ports"]
    assert (settings.transport, settings.archive_port) == ("https", port["port"])
    spec = pod(of_kind(objects, "CronJob")["speedtest-rack"])
    [secret] = [each["secret"] for each in spec["volumes"] if each["name"] == "archive-ca"]
    assert [item["key"] for item in secret["items"]] == ["ca.crt"]  # and never the key beside it
    assert str(settings.ca_file) == "/etc/speedtest-archive-ca/ca.crt"
    archive = pod(of_kind(objects, "StatefulSet")["speedtest-archive"])
    assert port["targetPort"] in {each["name"] for each in archive["containers"][0]["ports"]}


def test_an_authority_of_the_values_goes_before_the_secret_s(tmp_path):
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    objects = rendered(ALL, "--set-file", f"archive.ca={tmp_path}/ca.pem")
    assert "archive-ca" not in {each["name"] for each in pod(of_kind(objects, "CronJob")["speedtest-rack"])["volumes"]}
    data = of_kind(objects, "ConfigMap")["speedtest-rack"]["data"]
    assert data["SPEEDTEST_CA_FILE"] == "/etc/speedtest-telemetry/archive-ca.pem"


def test_the_archive_knows_whose_a_token_is():
    text = of_kind(rendered(ALL), "ConfigMap")["speedtest-archive-tokens"]["data"]["tokens"]
    assert tokens.parsed(text) == {digest: node for node, digest in tokens_of(ALL).items()}


def tokens_of(values: Path) -> dict[str, str]:
    return yaml.safe_load(values.read_text())["archive"]["tokens"]


def test_one_archive_and_one_dashboard_that_reads_its_volume_on_its_machine():
    objects = rendered(ALL)
    archive, dashboard = of_kind(objects, "StatefulSet")["speedtest-archive"], of_kind(objects, "Deployment")
    [dashboard] = dashboard.values()
    assert (archive["spec"]["replicas"], dashboard["spec"]["replicas"]) == (1, 1)
    assert dashboard["spec"]["strategy"] == {"type": "Recreate"}
    [near] = pod(dashboard)["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    labels = archive["spec"]["template"]["metadata"]["labels"]
    assert near["topologyKey"] == "kubernetes.io/hostname"
    assert near["labelSelector"]["matchLabels"].items() <= labels.items()
    [claim] = [each["persistentVolumeClaim"] for each in pod(dashboard)["volumes"] if each["name"] == "archive"]
    assert claim == {"claimName": "speedtest-archive", "readOnly": True}
    [container] = pod(dashboard)["containers"]
    [mount] = [each for each in container["volumeMounts"] if each["name"] == "archive"]
    assert mount["readOnly"]
    accounts = [pod(each)["securityContext"]["runAsUser"] for each in (archive, dashboard)]
    assert accounts == [474, 472]
    assert {pod(each)["securityContext"]["fsGroup"] for each in (archive, dashboard)} == {474}


@pytest.mark.parametrize("host", ["speed.example.org", ""])
def test_the_dashboard_takes_its_settings(host):
    nobody = "dashboard.ingress.enabled=false,dashboard.host=,dashboard.frontAddresses=null,dashboard.frontNamespace="
    others = [] if host else ["--set", nobody]
    [dashboard] = of_kind(rendered(ALL, *others), "Deployment").values()
    [container] = pod(dashboard)["containers"]
    settings = dashboard_settings.load({each["name"]: each["value"] for each in container["env"]})
    assert (settings.front, settings.front_addresses) == (host, ("10.42.0.0/16",) if host else ())
    mounts = {each["mountPath"] for each in container["volumeMounts"]}
    for file in (settings.archive_dir, settings.state_dir, settings.users_file):
        assert any(str(file).startswith(place) for place in mounts)


def test_who_may_come_is_said():
    policies = of_kind(rendered(ALL), "NetworkPolicy")
    for policy in policies.values():
        assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        assert policy["spec"]["egress"] == []
    assert policies["speedtest-archive"]["spec"]["ingress"] == [{"ports": [{"port": "https"}]}]
    [entry] = policies["speedtest-dashboard"]["spec"]["ingress"]
    assert entry["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}]


def test_what_a_cluster_asks_is_answered():
    """Each probe's path is one that the program has; the scenario asks them of the pods themselves."""
    asked = {
        container["readinessProbe"]["httpGet"]["path"]
        for spec in pods(ALL).values() for container in spec["containers"] if "readinessProbe" in container
    }  # fmt: skip
    assert asked == {http_request.READY, "/login"}
