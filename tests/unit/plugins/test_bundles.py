"""What a bundle says is what would be pushed; no secret is in one; nodes that pull are left alone by pushes."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import time
from types import SimpleNamespace

import pytest
from builders import load, unpack
from desired_states import DATA, WATCHED, wanted

from plugins.converge import bundle
from plugins.desired import bundle_folder, bundles, docker_host, speedtest_logger
from plugins.desired.bundles import BundleError, Node
from plugins.desired.kinds import KINDS
from speedtest_logger.inventory.roles import known

fleet = load("plugins/filter/fleet.py")
status = load("plugins/filter/status.py")
look = load("plugins/action/fleet_look.py")
release = load("plugins/lookup/release.py")
SLOTS = {"interval_seconds": 3600, "offset_seconds": 7, "on_calendar": ["*-*-* *:00:07"]}


@pytest.fixture
def owner(tmp_path):
    key = tmp_path / "owner"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ada", "-f", key], check=True)
    return key


@pytest.fixture
def pulling(tmp_path, owner):
    """What the role wants on a node that pulls."""
    signers = [owner.with_suffix(".pub").read_text().strip()]

    def make(**more):
        given = {"converge": "pull", "pull_url": "https://example.org/", "pull_signers": signers, **more}
        return wanted("speedtest_logger", {"artifact_dir": str(tmp_path / "dist"), "slots": SLOTS}, **given)

    return make


def test_nothing_of_it_is_on_a_node_that_is_pushed_to(tmp_path):
    here = {"artifact_dir": str(tmp_path), "slots": SLOTS}
    desired = wanted("speedtest_logger", here).desired
    assert known()["speedtest_logger_converge"].default == "push"
    made = {name: items for name, items in desired.items() if not name.startswith("absent_")}
    assert "converge" not in str(made["units"] + made["files"] + made["links"] + made["directories"])
    assert {speedtest_logger.PULL_CONFIGURATION, speedtest_logger.PULL_STATE} <= set(desired["absent_paths"])


def test_what_a_bundle_says_is_what_would_be_pushed(pulling):
    pushed = pulling()
    said = bundles.desired_of(pushed)
    assert set(pushed.desired) == set(said)
    for name in set(said) - {"links", "releases"}:
        assert said[name] == pushed.desired[name]
    assert [{k: v for k, v in link.items() if k != "previous"} for link in said["links"]] == pushed.desired["links"]
    assert [set(item) for item in said["releases"]] == [{"path", "digest"}]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda item: item.update(secret=True),
        lambda item: item.update(content="URL=https://ada:hush@example.org/"),
        lambda item: item.update(content="URL=http://:hush@example.org"),
    ],
)
def test_what_is_secret_is_never_in_a_bundle(pulling, spoil):
    node = pulling()
    spoil(node.desired["files"][0])
    with pytest.raises(BundleError, match=r"logger\.env: a bundle is no secret"):
        bundles.desired_of(node)
    assert bundles.secrets(pulling()) == []


def test_a_password_of_a_server_that_programs_come_from_is_in_no_bundle(pulling):
    url = "https://ada:hush@example.org/tool.tgz"
    with pytest.raises(BundleError, match="engines/000000000000: a bundle is no secret"):
        bundles.desired_of(pulling(downloads={"ookla": {"url": url, "sha256": "0" * 64}}))
    docker = {"source": "repository", "repository_key": "KEY", "repository_url": "https://ada:hush@example.org/docker"}
    with pytest.raises(BundleError, match="docker_host_repository_url"):
        said_of(Node(pulling(runtime="compose"), wanted("docker_host", docker)))


def test_of_each_kind_of_thing_it_is_decided_whether_a_node_can_bring_it_about():
    left = {"venvs", "answers"}
    assert {kind.name for kind in KINDS} == bundle.LISTS | left
    assert not bundle.LISTS & left


def said_of(node):
    return json.loads(bundles.payload(node, 1, 2.0))


def test_a_container_comes_with_the_docker_that_it_runs_in(pulling):
    docker = wanted("docker_host", {"source": "repository", "repository_key": "KEY"})
    said = said_of(Node(pulling(runtime="compose"), docker))
    assert said["before"] == [docker.desired]
    assert [item["name"] for item in said["desired"]["projects"]] == ["speedtest"]
    assert set(said["docker"]["packages"]) == {"debian", "ubuntu"}
    sources = {name: files[1]["content"] for name, files in said["docker"]["files"].items()}
    assert "Suites: <codename>" in sources["debian"]
    assert "https://download.docker.com/linux/ubuntu" in sources["ubuntu"]
    for source, files in (("distribution", False), ("none", False)):
        given = docker_host.for_bundle({**docker.values, "source": source})
        assert (bool(given["files"]), bool(given["packages"])) == (files, source != "none")


def test_a_node_that_has_none_of_it_is_told_none_of_it(pulling):
    """What a bundle of a node with a timer says is what releases before this one understand too."""
    assert set(said_of(Node(pulling()))) == {
        "format", "node", "serial", "valid_until", "version", "settings", "release", "desired",
    }  # fmt: skip


@pytest.mark.parametrize("runtime", ["systemd", "compose"])
def test_a_node_that_is_taken_off_has_nothing_left_but_its_data_and_its_serials(pulling, runtime):
    there, node = pulling(runtime=runtime), pulling(runtime=runtime, state="absent")
    said = said_of(Node(node, exporter=wanted("speedtest_monitoring", {"state": "absent", "fleet": WATCHED})))
    assert said["format"] == bundle.LEAVING
    assert not {name for wants in [said["desired"], *said["after"]] for name in wants if not name.startswith("absent_")}
    paths = [path for wants in [said["desired"], *said["after"]] for path in wants.get("absent_paths", [])]
    kept = (speedtest_logger.PULL_STATE, *DATA["speedtest_logger"])
    for kind in ("files", "links", "directories", "releases", "attributes"):
        for item in there.desired[kind]:
            gone = any(item["path"] == path or item["path"].startswith(f"{path}/") for path in paths)
            assert gone != item["path"].startswith(kept), item["path"]


def test_what_takes_a_node_off_goes_last_and_is_not_stopped_while_it_does(pulling):
    said = said_of(Node(pulling(state="absent")))
    *_, last = said["after"]
    assert "speedtest-converge" not in str(said["desired"])
    assert "/opt/speedtest-telemetry" not in said["desired"]["absent_paths"]
    assert last["absent_units"] == ["speedtest-converge.timer"]
    assert {"/opt/speedtest-telemetry", "/etc/systemd/system/speedtest-converge.service"} <= set(last["absent_paths"])
    assert "speedtest-logger.timer" in said["desired"]["absent_units"]


def test_its_data_go_where_the_inventory_says_so(pulling):
    said = said_of(Node(pulling(state="absent", purge=True)))
    assert set(DATA["speedtest_logger"]) <= set(said["desired"]["absent_paths"])


def test_an_image_to_load_is_served_beside_the_bundle(pulling, owner, tmp_path):
    image, served = tmp_path / "image.tar.gz", tmp_path / "served"
    node = Node(pulling(runtime="compose", image_source="load", image_archive=str(image)))
    with pytest.raises(BundleError, match="`make image` writes one"):
        bundle_folder.written(served, [node], owner, 3600, 1.0)
    image.write_bytes(b"layers")
    names, named = bundle_folder.written(served, [node, node], owner, 3600, 1.0)
    said = said_of(node)["desired"]["images"][0]["load"]
    (loaded,) = [name for name in named if name.endswith(".image.tar.gz")]
    assert said == {"file": loaded, "sha256": hashlib.sha256(b"layers").hexdigest(), "bytes": 6}
    assert (served / said["file"]).read_bytes() == b"layers"
    assert bundle_folder.kept_files(served) == named
    bundle_folder.written(served, [Node(pulling())], owner, 3600, 1.0)
    assert bundle_folder.kept_files(served) == [name for name in named if name != loaded]
    assert not (served / said["file"]).exists()
    assert names == ["attic.bundle"]


def test_serials_only_grow_and_the_node_takes_each(pulling, owner, tmp_path):
    folder, signers, serials = tmp_path / "served", tmp_path / "allowed_signers", []
    signers.write_text(bundle.allowed_signers(pulling().values["pull_signers"]))
    for now in (5000.5, 5000.6, 4000.0):  # the clock was put back
        names, named = bundle_folder.written(folder, [Node(pulling())], owner, 3600, now)
        taken = bundle.opened((folder / "attic.bundle").read_bytes(), signers)
        bundle.check_turn(taken, "attic", max(serials, default=0), now)
        serials.append(taken.serial)
    assert serials == [5000, 5001, 5002]
    assert (names, named) == (["attic.bundle"], [taken.release["file"]])
    assert (folder / "attic.bundle").stat().st_mode & 0o777 == 0o644


def test_a_release_that_no_bundle_names_goes(pulling, owner, tmp_path):
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "speedtest-logger-0.0.1-000000000000.tar.gz").write_text("old")
    names, named = bundle_folder.written(tmp_path / "served", [Node(pulling())], owner, 3600, time.time())
    assert bundle_folder.kept_files(tmp_path / "served") == named
    assert [file.name for file in (tmp_path / "served").glob("*.tar.gz")] == named
    with tarfile.open(bundle_folder.packed(tmp_path / "served", names)) as made:
        assert made.getnames() == names


def test_a_key_that_the_node_would_no_longer_believe_signs_nothing(pulling, owner, tmp_path):
    other = Node(pulling(pull_signers=["ssh-ed25519 AAAA other"]))
    with pytest.raises(BundleError, match="believe none of this key"):
        bundle_folder.written(tmp_path / "served", [other], owner, 3600, 1.0)
    with pytest.raises(BundleError, match="public half"):
        bundle_folder.written(tmp_path / "served", [Node(pulling())], tmp_path / "nothing", 3600, 1.0)
    assert not (tmp_path / "served").exists()


def test_the_program_is_in_the_release_and_needs_nothing_besides(tmp_path):
    unpack(release.release(release.source_version(), tmp_path)["path"], tmp_path / "release")
    argv = [sys.executable, "-IS", tmp_path / "release" / "bin" / "speedtest-converge"]
    done = subprocess.run([*argv, "run", "--help"], capture_output=True, text=True, check=False, cwd="/")
    assert (done.returncode, done.stderr) == (0, "")
    argv = [*argv, "--config-dir", tmp_path, "--state-dir", tmp_path, "run"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd="/")
    assert (done.returncode, done.stderr.partition("cannot be read")[0]) == (
        1,
        f"speedtest-converge: {tmp_path}/pull.json ",
    )


HOSTVARS = {"attic": {"speedtest_logger_converge": "pull"}, "shed": {}}
GROUPS = {"speedtest_nodes": ["attic", "shed"], "speedtest_archive": ["nas"]}


def test_a_run_leaves_nodes_that_pull_alone_but_to_enrol_them():
    assert fleet.pushed_hosts(HOSTVARS, GROUPS) == ["shed"]
    assert fleet.pushed_hosts({}, GROUPS) == ["attic", "shed"]

    def groups_of(host, **arguments):
        groups = {**GROUPS, "speedtest_monitoring": ["nas"]}
        self = SimpleNamespace(
            hostvars=HOSTVARS, groups=groups, _task=SimpleNamespace(args=arguments),
            members={**groups, "speedtest_monitoring": ["nas", "attic", "shed"]},
        )  # fmt: skip
        return look.ActionModule.mine(self, host)

    assert groups_of("attic") == []
    assert groups_of("attic", enrols=True) == groups_of("shed") == ["speedtest_nodes", "speedtest_monitoring"]


def test_the_end_of_a_run_claims_nothing_of_a_node_that_was_not_looked_at():
    machine = load("plugins/filter/ending.py").machine
    assert machine(HOSTVARS["attic"], "attic", False).startswith("attic: left to its bundle")
    assert machine(HOSTVARS["shed"], "shed", False) == "shed: as the inventory says"
    looked = {**HOSTVARS["attic"], "fleet_look": {"hosts": {"attic": {"speedtest_logger": {"plan": {"drift": []}}}}}}
    assert machine(looked, "attic", False) == "attic: as the inventory says"


def test_slots_are_noted_of_nodes_that_have_them():
    hosts = ["attic", "shed"]
    assert fleet.brought_hosts(HOSTVARS, hosts) == ["shed"]
    enrolled = {**HOSTVARS, "attic": {**HOSTVARS["attic"], "speedtest_logger_observed": {"plan": {}}}}
    assert fleet.brought_hosts(enrolled, hosts) == hosts
    bundled = {**HOSTVARS, "attic": {**HOSTVARS["attic"], "fleet_bundles": {"hosts": ["attic"]}}}
    assert fleet.brought_hosts(bundled, hosts) == hosts
    bundled["attic"]["fleet_bundles"]["hosts"] = []
    assert fleet.brought_hosts(bundled, hosts) == ["shed"]


NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("converged", "drift", "problem"),
    [
        ({"at": NOW - 300, "error": ""}, "none 5 min ago", ""),
        (
            {"at": NOW - 300, "error": "its serial is older"},
            "refused",
            "it is not as its bundle says: its serial is older",
        ),
        ({"at": NOW - 90_000, "error": ""}, "none 25 h ago", "it last looked for its bundle 25 h ago"),
        (None, "?", "it has said nothing of its bundle yet"),
        (
            {"at": NOW - 90_000, "error": "", "leaving": 7},
            "taken off",
            "it has delivered all and was taken off 25 h ago",
        ),
    ],
)
def test_the_status_shows_what_a_node_has_said_of_its_bundle(converged, drift, problem):
    said = {"version": "1.2.3", "runtime": "systemd", "outbox": {"records": 4}, "last_seen": NOW - 60}
    archived = {"attic": {"last_status": "ok", "said": {**said, "converged": converged}} if converged else {}}
    problems = []
    row = status.node_row(HOSTVARS, "attic", archived, problems, NOW)
    assert row["drift"] == drift
    assert [words.startswith(f"attic: {problem}") for words in problems] == ([True] if problem else [])
    if converged:
        assert [row[name] for name in ("version", "runtime", "outbox", "status")] == ["1.2.3", "systemd", "4", "ok"]
    assert "UNREACHABLE" not in row.values()
