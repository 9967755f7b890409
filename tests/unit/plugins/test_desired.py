"""What roles want on a machine: what was ever put there goes again, and nothing that is data goes unasked."""

from __future__ import annotations

import itertools
import re

import pytest
import yaml
from builders import ROOT, seen
from desired_states import DATA, KEYS, NAME, OTHERS, SHARES, STOCK, UNITS, USERS, WATCHED, is_gone, paths_of, wanted

from plugins.desired import plan as planning
from plugins.desired import templates
from plugins.desired.kinds import GOING, PATHS
from plugins.desired.things import (
    Goes,
    Thing,
    account,
    directory,
    file,
    instances,
    leftover,
    link,
    package,
    resolved,
    unit,
)

VARIANTS = {
    "speedtest_logger": [
        {"runtime": runtime, "stayawake_enabled": awake, "image_source": source, "image": "example.org/logger@sha256:0"}
        for runtime, awake, source in itertools.product(("systemd", "compose"), (True, False), ("build", "pull"))
    ]
    + [{"runtime": runtime, "probes": ["ping", "irtt", "traceroute"]} for runtime in ("systemd", "compose")]
    + [{"converge": "pull", "pull_url": "https://bundles.example.org/", "pull_signers": ["ssh-ed25519 AAAA ada"]}]
    + [{"runtime": runtime, "transport": "https", "archive_ca": "PEM"} for runtime in ("systemd", "compose")],
    "speedtest_archive": [
        {},
        {"backup_repository": "/mnt/usb/restic", "backup_password": "x"},
        {"store_address": "/mnt/usb/table"},
        {"store_address": "/mnt/usb/table", "store_tree": "/mnt/usb/plain", "store_tree_results": True},
        {"https_enabled": True},
        {"https_enabled": True, "invitations_enabled": True},
        {"store_address": "s3://b/t", "store_access_key": "x", "store_secret_key": "y"},
        {"store_address": "s3://b/t", "store_access_key": "x", "store_secret_key": "y", "shared": True},
    ],
    "speedtest_dashboard": [
        {},
        {"users": USERS, "keys": KEYS, "shares": SHARES, "bind": "192.0.2.1"},
        {"users": USERS, "front": NAME, "workbench_enabled": True},
        {"runtime": "compose"},
        {"runtime": "compose", "users": USERS, "image_source": "pull", "image": "example.org/dashboard@sha256:0"},
    ],
    "speedtest_database": [
        {},
        {"reader_password": "correct horse battery"},
        {"timescale_enabled": True},
        {"dsn": "postgresql://sink:hush@db.example.org/speedtest"},
    ],
    "speedtest_front": [
        {"tls": "internal"},
        {"tls": "acme"},
        {"tls": "files", "workbench_port": 8501, "bundles_dir": "/srv/b"},
    ],
    "speedtest_monitoring": [
        {"fleet": WATCHED, "dashboard_key": "key-key-key", "remote_write_url": NAME, "remote_write_token": "x"},
        {"fleet": WATCHED, "mode": "files", "grafana_enabled": True},
        {"fleet": {**WATCHED, "database": True}, "grafana_enabled": True, "grafana_database_password": "of-a-reader"},
        {"fleet": {"server": False, "exporter": True, "monitors": ["192.0.2.1"]}},
    ],
    "speedtest_cluster": [{"parts": ["scheduler", "worker"], "members": "who"}, {"parts": []}],
    "speedtest_store": [{"access_key": "an id", "secret_key": "a key"}, {"listen": "192.0.2.1", "port": 9000}],
    "speedtest_target": [
        {"librespeed_port": port, "iperf3_ports": ports, "irtt_port": 2112 * bool(ports)}
        for port, ports in itertools.product((0, 8989), ([], [5201]))
    ],
}
CASES = [(role, variant) for role, variants in VARIANTS.items() for variant in variants]


@pytest.mark.parametrize(("role", "variant"), CASES)
def test_everything_that_a_role_has_put_there_goes_with_state_absent(here, role, variant):
    made = wanted(role, here, **variant).desired
    for absent_as in VARIANTS[role]:  # whatever the inventory says by then
        kept = wanted(role, here, **absent_as, state="absent").desired
        purged = wanted(role, here, **absent_as, state="absent", purge=True).desired
        for path in paths_of(made) - OTHERS:
            data = any(path == place or path.startswith(f"{place}/") for place in DATA[role])
            assert is_gone(path, purged), path
            assert is_gone(path, kept) != data or path.endswith(("limits.env", "shared.env", "/store")), path
        assert not any(is_gone(place, purged) for place in OTHERS)
        units = {item["name"] for item in made.get("units", [])} - {f"{name}.service" for name in STOCK}
        gone = set(kept.get("absent_units", []))
        assert {name.partition("@")[0] for name in units} <= {name.partition("@")[0] for name in gone}
        accounts = {item["name"] for item in made.get("accounts", [])}
        assert accounts <= set(purged.get("absent_accounts", []))
        assert not {"files", "directories", "links", "units", "projects"} & set(kept)


@pytest.mark.parametrize(("role", "variant"), CASES)
@pytest.mark.parametrize("kept", [{}, {"state": "absent"}, {"state": "absent", "purge": True}])
def test_nothing_is_wanted_and_unwanted_at_once(here, role, variant, kept):
    lists = wanted(role, here, **variant, **kept).desired
    assert set(lists) <= {kind.name for kind in planning.KINDS}
    assert not [path for path in paths_of(lists) if is_gone(path, lists)]
    assert not {item["name"] for item in lists.get("units", [])} & set(lists.get("absent_units", []))


def test_a_change_of_runtime_takes_off_what_only_the_other_one_has(here):
    systemd = wanted("speedtest_logger", here, runtime="systemd").desired
    compose = wanted("speedtest_logger", here, runtime="compose").desired
    for old, new in ((systemd, compose), (compose, systemd)):
        for path in paths_of(old) - paths_of(new):
            assert is_gone(path, new), path
    assert compose["absent_units"][0] == "speedtest-logger.service"
    assert [item["name"] for item in systemd["absent_projects"]] == ["speedtest"]
    assert systemd["absent_images"] == ["speedtest-logger"]
    assert "absent_images" not in compose


def test_what_goes_when():
    things = [
        package("p", when=False),
        account("a", when=False),
        directory("/d", when=False),
        directory("/data", when=False, goes=Goes.PURGE),
        directory("/home", when=False, goes=Goes.ABSENT),
        file("/d/inside", "", when=False),
        file(f"{UNITS}x.timer", "", when=False),
        file(f"{UNITS}y@.service", "", when=False),
        file("/etc/ssh/x", "", when=False, reloads=["ssh.service"]),
        link("/both", "/x", when=False),
        file("/both", ""),
        leftover("/left"),
        instances("y@*.service"),
        unit("kept.service"),
    ]
    off = resolved(things)
    assert off["absent_paths"] == ["/d", f"{UNITS}x.timer", f"{UNITS}y@.service", "/etc/ssh/x", "/left"]
    assert off["absent_units"] == ["x.timer", "y@*.service"]
    assert off["absent_readers"] == [{"path": "/etc/ssh/x", "reloads": ["ssh.service"]}]
    assert [item["path"] for item in off["files"]] == ["/both"]
    assert "absent_accounts" not in off
    absent = resolved(things, "absent")
    assert {"/home", "/both"} <= set(absent["absent_paths"])
    assert "/data" not in absent["absent_paths"]
    assert absent["absent_units"] == ["x.timer", "y@*.service", "kept.service"]
    purged = resolved(things, "absent", purge=True)
    assert "/data" in purged["absent_paths"]
    assert purged["absent_accounts"] == ["a"]
    assert "packages" not in purged


def test_an_unknown_variable_in_a_template_is_an_error():
    with pytest.raises(Exception, match="undefined"):
        templates.rendered("speedtest_target", "etc/speedtest-target/nginx.conf", {})


def test_python_packages_are_missed_until_all_are_there(here):
    desired = wanted("speedtest_archive", here).desired
    (packages,) = desired["venvs"]
    assert packages["mark"] in planning.request(desired, {})["paths"]
    kind = next(kind for kind in planning.KINDS if kind.name == "venvs")
    words = f"{packages['path']}: the Python packages are not all there"
    assert kind.differs(packages, {"paths": {packages["mark"]: None}}) == words
    assert kind.differs(packages, {"paths": {packages["mark"]: {"kind": "file"}}}) is None
    assert "venvs" not in wanted("speedtest_archive", here, state="absent").desired


def test_units_say_nothing_that_systemd_does_not_know(here):
    """Included parts end where they should: a line of the one must not run into a line of the other."""
    for role, variant in CASES:
        for item in wanted(role, here, **variant).desired.get("files", []):
            if item["path"].endswith(".service"):
                whole = item["content"].replace("\\\n", " ")
                lines = [line for line in whole.splitlines() if line and line[0] not in "[#"]
                assert all("=" in line and "#" not in line.partition("=")[2] for line in lines), item["path"]
                assert item["content"].count("SystemCallErrorNumber=EPERM\n") == 1


def test_a_thing_that_can_go_is_of_a_kind_that_has_a_way_to_go(here):
    for role, variant in CASES:
        wanting = wanted(role, here, **variant)
        can_go = {thing.kind for thing in wanting.module.things(wanting.values) if thing.goes is not Goes.NEVER}
        assert can_go - {*PATHS, *GOING, "leftovers", "repositories"} == set()


def test_what_must_not_be_there_is_listed_by_its_kind():
    """Any kind with a row absent_…, without a line of its own in `resolved`."""
    made = resolved([Thing("projects", {"name": "p"}, when=False), Thing("marks", {"path": "/m"}, when=False)])
    assert made == {"absent_projects": [{"name": "p"}]}


# --- every difference has a task that puts it right

TASKS = ROOT / "roles/managed_host/tasks"
NAMED = re.compile(r"managed_host_plan\.(\w+)")


def conditions(content):
    """What decides whether tasks of a file run: conditions, and the lists that they run over."""
    if isinstance(content, list):
        return " ".join(map(conditions, content))
    if not isinstance(content, dict):
        return ""
    own = " ".join(str(content.get(name, "")) for name in ("when", "loop"))
    return f"{own} {conditions(content.get('block', []))}"


def test_every_list_of_a_plan_has_its_task_and_main_runs_it():
    main = yaml.safe_load((TASKS / "main.yml").read_text(encoding="utf-8"))
    looked_at = set(NAMED.findall(conditions(main)))
    others = [place.read_text(encoding="utf-8") for place in TASKS.glob("*.yml") if place.name != "main.yml"]
    carried_out = set(NAMED.findall(" ".join(others)))
    made = planning.plan({}, seen())
    told = {kind.name for kind in planning.KINDS if kind.told_only} | {"drift"}
    lists = {name for name, value in made.items() if isinstance(value, list)} - told
    assert {"packages", "files", "units", "absent_paths", "unused_images"} <= lists
    # directories that are looked at again come with those that differ
    assert lists - looked_at == {"again"}
    assert lists - carried_out == {"images", "unread"}  # main.yml hands one at a time on; and has systemd read them
    assert looked_at | carried_out <= set(made)
