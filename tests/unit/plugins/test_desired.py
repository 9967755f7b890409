"""What roles want on a machine: what was ever put there goes again, and nothing that is data goes unasked."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from datetime import date

import pytest
import yaml
from builders import ROOT, seen

from plugins.desired import plan as planning
from plugins.desired import roles, templates
from plugins.desired import speedtest_logger as role_of_node
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
from speedtest_logger import __version__
from speedtest_logger.inventory.roles import known
from speedtest_logger.workbench import cli as workbench

UNITS = "/etc/systemd/system/"
SLOTS = {"interval_seconds": 3600, "offset_seconds": 7, "on_calendar": ["*-*-* *:00:07"]}
DATA = {
    "speedtest_logger": ["/var/lib/speedtest-telemetry", "/var/log/speedtest-telemetry"],
    "speedtest_archive": ["/srv/speedtest-archive"],
    "speedtest_dashboard": ["/var/lib/speedtest-dashboard"],
    "speedtest_database": ["/var/lib/speedtest-database", "/srv/speedtest-archive/database"],
    "speedtest_front": ["/var/lib/speedtest-front"],
    "speedtest_monitoring": ["/var/lib/speedtest-monitoring"],
    "speedtest_cluster": [],
    "speedtest_store": ["/srv/speedtest-store"],
    "speedtest_target": [],
}
USERS = [{"name": "ada", "password": "scrypt$16384$8$1$c2FsdA==$aGFzaA=="}]
KEYS = [{"name": "grafana", "id": "abcdefgh", "sha256": "0" * 64, "scopes": ["read"], "expires": None}]
RUNTIMES = ("systemd", "compose")
SHARES = [{"location": "home", "sha256": "1" * 64, "expires": date(2027, 1, 31)}]
NAME = "speed.example.org"
WATCHED = {"server": True, "exporter": True, "monitors": [], "nodes": [], "dashboard": ""}
STOCK = (
    "nginx",
    "caddy",
    "prometheus",
    "prometheus-alertmanager",
    "prometheus-node-exporter",
    "irtt",
    "systemd-sysctl",
)  # of packages
OWN = {
    ("ingest_interval", "speedtest_archive"),
    ("workbench_port", "speedtest_dashboard"),
}  # what a role does not take from another one
# What stays when all is taken off, since it is others' too, or was there before.
OTHERS = {
    "/mnt/usb/restic",
    "/mnt/usb/table",
    "/mnt/usb/plain",
    "/etc/postgresql-common",
    "/etc/postgresql-common/createcluster.d",
}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Places of the control machine."""
    folder = tmp_path_factory.mktemp("control")
    (folder / "requirements.txt").write_text("duckdb==1\n")
    archive = {"archive_dir": "/srv/speedtest-archive", "archive_user": "speedtest-archive", "ingest_interval": "5min"}
    control = {"artifact_dir": str(folder), "requirements_file": str(folder / "requirements.txt")}
    for name in ("certificate", "key", "ca"):
        (folder / f"{name}.pem").write_text(f"{name}\n")
    files = {f"{name}_file": str(folder / f"{name}.pem") for name in ("certificate", "key")}
    (folder / "store.txt").write_text("duckdb==1\ndeltalake==1\n")
    control |= {"store_requirements_file": str(folder / "store.txt")}
    control |= {"workbench_requirements_file": str(folder / "requirements.txt"), "workbench_port": 0}
    front = {
        **files,
        "name": NAME,
        "dashboard_bind": "127.0.0.1",
        "dashboard_port": 8000,
        "front": "",
        "bundles_dir": "",
    }
    return {**control, **archive, **front, "acme_ca_file": str(folder / "ca.pem"), "slots": SLOTS}


def wanted(role, here, **changes):
    prefix = f"{role}_"
    plain = {name: item.default for name, item in known().items() if name.startswith(prefix)}
    values = {name.removeprefix(prefix): value for name, value in plain.items()}
    given = {name: value for name, value in here.items() if name in values and (name, role) not in OWN}
    return roles.Wanted(
        role, {**values, **given, **({"node_name": "attic"} if "node_name" in values else {}), **changes}
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


def is_gone(path, lists):
    return any(path == above or path.startswith(f"{above}/") for above in lists.get("absent_paths", []))


def paths_of(lists):
    return {item["path"] for name in ("files", "directories", "links") for item in lists.get(name, [])}


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


PROBE_UNITS = {f"/etc/systemd/system/speedtest-probe.{kind}" for kind in ("service", "timer")}
ECHO_REQUESTS = "/etc/sysctl.d/60-speedtest-probes.conf"


def test_probes_bring_units_programs_and_one_right_and_take_them_off_again(here):
    off = wanted("speedtest_logger", here).desired
    files = {
        item["path"]: item["content"] for item in wanted("speedtest_logger", here, probes=["dns"]).desired["files"]
    }
    assert paths_of(off) & (PROBE_UNITS | {ECHO_REQUESTS}) == set()
    assert all(is_gone(path, off) for path in (*PROBE_UNITS, ECHO_REQUESTS))
    assert set(files) >= PROBE_UNITS
    assert "CAP_NET_RAW" not in files["/etc/systemd/system/speedtest-probe.service"]
    on = wanted("speedtest_logger", here, probes=["ping", "irtt", "traceroute"]).desired
    unit = next(item["content"] for item in on["files"] if item["path"].endswith("speedtest-probe.service"))
    assert unit.rindex("CapabilityBoundingSet=CAP_NET_RAW") > unit.index("CapabilityBoundingSet=\n")
    assert {"irtt", "mtr-tiny"} <= set(on["packages"])
    assert {"irtt", "mtr-tiny"} & set(off["packages"]) == set()
    assert ECHO_REQUESTS not in paths_of(on)


def test_a_container_s_probes_need_the_kernel_s_leave_and_nothing_else_on_the_host(here):
    on = wanted("speedtest_logger", here, runtime="compose", probes=["ping"]).desired
    assert ECHO_REQUESTS in paths_of(on)
    assert paths_of(on) & PROBE_UNITS == set()
    assert "irtt" not in on["packages"]
    quiet = wanted("speedtest_logger", here, runtime="compose", probes=["dns"]).desired
    assert is_gone(ECHO_REQUESTS, quiet)


def test_probes_run_as_far_from_the_slots_as_they_can(here):
    slots = {"interval_seconds": 300, "offset_seconds": 97, "on_calendar": ["*:1/5:37"]}
    on = wanted("speedtest_logger", here, probes=["dns"], slots=slots).desired
    timer = next(item["content"] for item in on["files"] if item["path"].endswith("speedtest-probe.timer"))
    assert "OnCalendar=*-*-* *:*:07 UTC" in timer


@pytest.mark.parametrize(
    ("probes", "words"),
    [
        ("http", "speedtest_logger_http_targets: seen ; speedtest_logger_probes names http"),
        ("irtt", "name HOST or HOST:PORT"),
        ("traceroute", "name ping too"),
    ],
)
def test_probes_that_can_ask_nothing_are_refused(here, probes, words):
    observed = {"links": {}, "paths": {}, "texts": {}, "os": {"id": "debian", "version_id": "13"}}
    refused = wanted("speedtest_logger", here, probes=[probes]).found(observed)["refusals"]
    assert any(words in each for each in refused)
    assert wanted("speedtest_logger", here, probes=["ping", "dns"]).found(observed)["refusals"] == []


COMPOSE = "/etc/speedtest-dashboard/compose.yml"


def test_a_dashboards_other_runtime_takes_off_all_but_what_is_people_s(here):
    """Users, keys and shares, notes and rollups stay where they are."""
    who = {"users": USERS, "keys": KEYS, "shares": SHARES}
    systemd = wanted("speedtest_dashboard", here, **who).desired
    compose = wanted("speedtest_dashboard", here, **who, runtime="compose").desired
    for old, new in ((systemd, compose), (compose, systemd)):
        for path in paths_of(old) - paths_of(new):
            assert is_gone(path, new), path
        for name in (*(f"/etc/speedtest-dashboard/{part}.json" for part in who), "/var/lib/speedtest-dashboard"):
            assert name in paths_of(new)
            assert not is_gone(name, new)
    assert compose["absent_units"] == ["speedtest-dashboard.service", WORKBENCH]
    assert {"/opt/speedtest-dashboard/venv", "/opt/speedtest-dashboard/venvs"} <= set(compose["absent_paths"])
    assert not {"units", "venvs"} & set(compose)
    assert [item["container"] for item in systemd["absent_projects"]] == ["speedtest-dashboard"]
    assert systemd["absent_images"] == ["speedtest-dashboard"]
    assert not {"projects", "images"} & set(systemd)
    assert not {"absent_projects", "absent_images"} & set(compose)


def test_a_dashboard_in_a_container_has_the_settings_of_the_unit_and_less_rights(here):
    systemd, compose = (files_of("speedtest_dashboard", here, users=USERS, runtime=name) for name in RUNTIMES)
    env, users = "/etc/speedtest-dashboard/dashboard.env", "/etc/speedtest-dashboard/users.json"
    assert systemd[env] == compose[env]
    assert systemd[users]["content"] == compose[users]["content"]
    owner = [compose[users][part] for part in ("owner", "group", "mode", "secret")]
    assert owner == ["root", "speedtest-dashboard", "0640", True]
    service = yaml.safe_load(compose[COMPOSE]["content"])["services"]["dashboard"]
    assert (service["read_only"], service["cap_drop"], service["security_opt"]) == (
        True, ["ALL"], ["no-new-privileges:true"],
    )  # fmt: skip
    assert service["environment"] == {"SPEEDTEST_DASHBOARD_USERS_FILE": users}
    mounts = {mount["target"]: mount.get("read_only", False) for mount in service["volumes"]}
    assert mounts == {
        "/etc/speedtest-dashboard": True, "/srv/speedtest-archive": True, "/var/lib/speedtest-dashboard": False,
    }  # fmt: skip
    assert (
        "environment"
        not in yaml.safe_load(files_of("speedtest_dashboard", here, runtime="compose")[COMPOSE]["content"])["services"][
            "dashboard"
        ]
    )


def test_a_container_runs_by_the_numbers_that_the_host_has_given(here):
    role = wanted("speedtest_dashboard", here, runtime="compose")
    assert {"speedtest-dashboard", "speedtest-archive"} <= set(planning.request(role.desired, role.besides)["accounts"])
    numbers = {"speedtest-dashboard": {"uid": 998, "gid": 997}, "speedtest-archive": {"uid": 996, "gid": 995}}

    def planned(accounts):
        accounts = {name: {"home": "/", "shell": "/", "groups": [], **found} for name, found in accounts.items()}
        made = planning.plan(role.desired, seen(accounts=accounts, docker=None))
        (compose,) = [item["content"] for item in made["files"] if item["path"] == COMPOSE]
        return yaml.safe_load(compose)["services"]["dashboard"], made["projects"][0]["digest"]

    service, digest = planned(numbers)
    assert (service["user"], service["group_add"]) == ("998:997", ["995"])
    assert service["labels"]["speedtest.config"] == digest
    assert digest.endswith(" 998 997 995")
    assert planned({**numbers, "speedtest-archive": {"uid": 996, "gid": 1}})[1] == digest.replace("995", "1")
    assert planned({})[0]["user"] == "<uid of speedtest-dashboard>:<gid of speedtest-dashboard>"


@pytest.mark.parametrize("change", [{"title": "Lines"}, {"users": USERS}, {"keys": KEYS}, {"dir": "/srv/dashboard"}])
def test_a_dashboards_container_is_made_anew_when_what_it_reads_is_another(here, change):
    before, after = (
        wanted("speedtest_dashboard", here, runtime="compose", **values).desired["projects"][0]["digest"]
        for values in ({}, change)
    )
    assert before != after


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


READ = ("files", "links", "releases")


def files_of(role, here, **changes):
    return {item["path"]: item for item in wanted(role, here, **changes).desired["files"]}


def test_who_may_see_the_dashboard_is_in_files_that_only_the_service_is_handed(here):
    places = {name: f"/etc/speedtest-dashboard/{name}.json" for name in ("users", "keys", "shares")}
    service = f"{UNITS}speedtest-dashboard.service"
    files = files_of("speedtest_dashboard", here, users=USERS, keys=KEYS, shares=SHARES)
    assert json.loads(files[places["users"]]["content"]) == USERS
    assert json.loads(files[places["keys"]]["content"]) == KEYS
    assert json.loads(files[places["shares"]]["content"]) == [{**SHARES[0], "expires": "2027-01-31"}]
    for name, place in places.items():
        owner = [files[place][part] for part in ("owner", "group", "mode", "secret")]
        assert owner == ["root", "root", "0600", True]
        assert f"LoadCredential={name}.json:{place}\n" in files[service]["content"]
        variable = f"SPEEDTEST_DASHBOARD_{name.upper()}_FILE"
        assert f"Environment={variable}=%d/{name}.json\n" in files[service]["content"]
    assert not [path for path, item in files.items() if "scrypt" in item["content"] and path != places["users"]]
    nobody = wanted("speedtest_dashboard", here).desired
    assert set(places.values()) <= set(nobody["absent_paths"])
    assert "Credential" not in files_of("speedtest_dashboard", here)[service]["content"]


@pytest.mark.parametrize(
    ("bind", "url", "closed"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000/health", True),
        ("::1", "http://[::1]:8000/health", True),
        ("192.0.2.1", "http://192.0.2.1:8000/health", False),
        ("0.0.0.0", "http://127.0.0.1:8000/health", False),  # noqa: S104
    ],
)
def test_a_dashboard_on_loopback_has_no_network(here, bind, url, closed):
    role = wanted("speedtest_dashboard", here, bind=bind, users=USERS)
    assert role.names["services"][0]["url"] == url
    (service,) = [item for item in role.desired["files"] if item["path"].endswith(".service")]
    assert ("IPAddressDeny=any\nIPAddressAllow=localhost\n" in service["content"]) is closed


def test_the_dashboard_reads_by_the_archives_group_and_starts_again_with_what_it_runs(here):
    lists = wanted("speedtest_dashboard", here, archive_user="keeper").desired
    assert [item["groups"] for item in lists["accounts"]] == [["keeper"]]
    unit_name = "speedtest-dashboard.service"
    readers = [item for name in READ for item in lists[name] if unit_name in item.get("restarts", [])]
    restarting = [item["path"] for item in readers]
    changed = ["current", "venv", "dashboard.env", f"releases/{__version__}", unit_name]
    assert [name for name in changed if not [path for path in restarting if path.endswith(f"/{name}")]] == []


CADDYFILE, KEY = "/etc/speedtest-front/Caddyfile", "/etc/speedtest-front/key.pem"


def test_a_front_has_the_files_that_its_kind_of_certificate_needs(here):
    internal, acme, files = (files_of("speedtest_front", here, tls=kind) for kind in ("internal", "acme", "files"))
    folder = "/etc/speedtest-front/"
    named = {path.removeprefix(folder) for path in (*internal, *acme, *files) if path.endswith(".pem")}
    assert named == {"acme-ca.pem", "certificate.pem", "key.pem"}
    assert not [path for path in internal if path.endswith(".pem")]
    assert acme[f"{folder}acme-ca.pem"]["content"] == "ca\n"
    assert files[f"{folder}certificate.pem"]["content"] == "certificate\n"
    assert [files[KEY][part] for part in ("content", "group", "mode", "secret")] == [
        *("key\n", "speedtest-front", "0640", True)
    ]
    gone = wanted("speedtest_front", here, tls="internal").desired["absent_paths"]
    assert {folder + name for name in named} <= set(gone)


def test_a_front_s_files_are_not_read_where_it_goes(here):
    nowhere = {"certificate_file": "/nowhere/x.pem", "key_file": "/nowhere/x.key"}
    assert "files" not in wanted("speedtest_front", here, tls="files", state="absent", **nowhere).desired


@pytest.mark.parametrize("kind", ["internal", "acme", "files"])
def test_a_front_s_configuration_is_checked_and_says_what_it_must(here, kind):
    item = files_of("speedtest_front", here, tls=kind, dashboard_bind="::1")[CADDYFILE]
    assert "caddy validate" in item["validate"]
    assert item["validate"].count("%s") == 1
    assert item["restarts"] == ["speedtest-front.service"]
    lines = [line.strip() for line in item["content"].splitlines()]
    said = ("admin off", "strict_sni_host on", "protocols tls1.2", "reverse_proxy [::1]:8000", f"{NAME}:443 {{")
    assert [line for line in said if line not in lines] == []
    assert "header Strict-Transport-Security max-age=31536000" in lines
    assert "https://speed.example.org{uri} 308" in item["content"]


def test_a_front_on_another_port_sends_browsers_there(here):
    content = files_of("speedtest_front", here, https_port=8443, hsts_seconds=0)[CADDYFILE]["content"]
    assert f"redir https://{NAME}:8443{{uri}} 308" in content
    assert "Strict-Transport-Security" not in content


def test_debian_s_own_service_makes_room_for_the_front_and_stays_as_it_is_found_later(here):
    (stock, own) = wanted("speedtest_front", here).desired["units"]
    assert (stock["name"], stock["active"], stock["enabled"]) == ("caddy.service", False, False)
    assert own == {"name": "speedtest-front.service"}
    assert "caddy.service" not in wanted("speedtest_front", here, state="absent").desired["absent_units"]


def test_the_dashboard_is_told_of_its_front(here):
    path = "/etc/speedtest-dashboard/dashboard.env"
    told = files_of("speedtest_dashboard", here, front=NAME)[path]["content"]
    assert f'SPEEDTEST_DASHBOARD_FRONT="{NAME}"' in told
    assert "FRONT" not in files_of("speedtest_dashboard", here)[path]["content"]


WORKBENCH = "speedtest-workbench.service"


def test_a_workbench_goes_whole_when_it_is_switched_off(here):
    without, on = (wanted("speedtest_dashboard", here, workbench_enabled=wish).desired for wish in (False, True))
    assert paths_of(on) - paths_of(without) == {"/opt/speedtest-dashboard/workbench", UNITS + WORKBENCH}
    for off in (without, wanted("speedtest_dashboard", here, workbench_enabled=True, runtime="compose").desired):
        assert {"/opt/speedtest-dashboard/workbench", UNITS + WORKBENCH} <= set(off["absent_paths"])
        assert WORKBENCH in off["absent_units"]
        assert "workbench" not in json.dumps([off.get(name) for name in ("venvs", "units", "files", "folders")])
    assert WORKBENCH in {item["name"] for item in on["units"]}


def test_a_workbench_has_python_packages_of_its_own_and_starts_again_with_its_release(here, tmp_path):
    (tmp_path / "other.txt").write_text("streamlit==2\n")
    first, second = (
        wanted("speedtest_dashboard", here, workbench_enabled=True, workbench_requirements_file=str(file)).desired
        for file in (here["requirements_file"], tmp_path / "other.txt")
    )
    (one, other) = (made["venvs"][1] for made in (first, second))
    assert one["path"] != other["path"]
    assert other["path"].startswith("/opt/speedtest-dashboard/workbench/")
    place = "/opt/speedtest-dashboard/workbench"
    assert {"path": place, "keep": [other["path"]], "keep_links": []} in second["folders"]
    readers = [item["path"] for name in READ for item in second[name] if WORKBENCH in item.get("restarts", [])]
    assert [path.rpartition("/")[2] for path in readers] == [WORKBENCH, "current", "venv", __version__]


def test_a_workbench_listens_on_loopback_and_reads_nothing_of_the_dashboard_s_own(here):
    changes = {"workbench_enabled": True, "front": NAME, "workbench_port": 8600, "users": USERS, "dir": "/srv/own"}
    service = files_of("speedtest_dashboard", here, **changes)[UNITS + WORKBENCH]["content"]
    lines = service.splitlines()
    assert "IPAddressDeny=any" in lines
    assert "InaccessiblePaths=-/srv/own -/run/credentials" in lines
    assert [line for line in lines if line.startswith(("ReadWritePaths", "LoadCredential", "EnvironmentFile"))] == []
    (start,) = (line for line in lines if line.startswith("ExecStart="))
    assert start.endswith(f"/bin/python -m speedtest_logger.workbench --port 8600 --path workbench --host {NAME}")
    workbench.parser().parse_args(start.split()[3:])
    services = wanted("speedtest_dashboard", here, **changes).names["services"]
    assert services[1]["url"] == "http://127.0.0.1:8600/workbench/_stcore/health"
    assert WORKBENCH in services[1]["said"]


@pytest.mark.parametrize("name", ["speedtest-dashboard.service", WORKBENCH])
def test_systemd_itself_finds_a_service_s_sandbox_tight(here, tmp_path, name):
    content = files_of("speedtest_dashboard", here, workbench_enabled=True, users=USERS)[UNITS + name]["content"]
    (tmp_path / name).write_text(re.sub("(?m)^ExecStart=.*", "ExecStart=/bin/true", content))
    argv = ["systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=20", str(tmp_path / name)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "exposure level" in done.stdout


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


def test_what_no_package_brings_is_refused_and_contradictions_are(here):
    old = {"id": "debian", "version_id": "12"}
    observed = {"links": {}, "paths": {}, "texts": {}, "os": old}
    found = wanted("speedtest_logger", here, engines=["librespeed", "iperf3"]).found(observed)["refusals"]
    assert [words.partition(":")[0] for words in found] == [
        "speedtest_logger_iperf3_servers",
        "speedtest_logger_engines",
    ]
    assert "debian 12 does not package" in found[1]
    new = {**observed, "os": {**old, "version_id": "13"}}
    assert wanted("speedtest_logger", here, engines=["librespeed"]).found(new)["refusals"] == []
    unpinned = wanted("speedtest_logger", here, engines=["librespeed"], archive_address="192.0.2.1")
    assert "nothing is trusted unseen" in unpinned.found(new)["refusals"][0]
    packaged = {**new, "paths": {role_of_node.PACKAGED: {"kind": "directory"}}}
    (said,) = wanted("speedtest_logger", here, engines=["librespeed"]).found(packaged)["refusals"]
    assert "seen the package speedtest-logger" in said
    assert wanted("speedtest_logger", here, state="absent").found(packaged)["refusals"] == []


@pytest.mark.parametrize(
    ("current", "proving", "wanted_release", "upgrading"),
    [
        (None, None, "0.1.0", False),
        ("0.1.0", None, "0.1.0", False),
        ("0.0.9", None, "0.1.0", True),
        ("0.1.0", "0.0.9", "0.1.0", True),
        ("0.1.0", "0.0.9", "0.0.9", False),
    ],
)
def test_a_release_that_was_not_proved_is_to_be_proved(here, current, proving, wanted_release, upgrading):
    role = wanted("speedtest_logger", here, wanted=wanted_release, kept=True)
    releases = role.names["releases_dir"]
    links = {
        role.names["current"]: current and f"{releases}/{current}",
        role.names["proving"]: proving and f"{releases}/{proving}",
    }
    found = role.found({"links": links, "paths": {}, "texts": {}, "os": {"id": "debian", "version_id": "13"}})
    assert found["upgrading"] is upgrading
    assert found["running"] == (current or "")


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


STORE = {"store_address": "s3://measurements/records", "store_access_key": "an id", "store_secret_key": "a key"}


def test_an_archive_publishes_with_packages_an_account_and_secrets_of_that(here):
    off, on = wanted("speedtest_archive", here).desired, wanted("speedtest_archive", here, **STORE).desired
    assert not any("publish" in json.dumps(off[kind]) for kind in ("files", "directories", "accounts", "units"))
    assert off["venvs"][0]["path"] != on["venvs"][0]["path"]
    assert off["venvs"][0]["requirements"] == here["requirements_file"]
    assert on["venvs"][0]["requirements"] == here["store_requirements_file"]
    assert {"deltalake", "obstore"} <= set(on["venvs"][0]["imports"])
    (account,) = [item for item in on["accounts"] if item["name"] == "speedtest-publish"]
    assert account["groups"] == ["speedtest-archive"]
    files = {item["path"]: item for item in on["files"]}
    secrets = files["/etc/speedtest-archive/store.env"]
    assert (secrets["owner"], secrets["mode"], secrets["secret"]) == ("root", "0600", True)
    assert [path for path, item in files.items() if "a key" in item["content"]] == [secrets["path"]]
    assert "AWS_ALLOW_HTTP" not in secrets["content"]
    service = files["/etc/systemd/system/speedtest-publish.service"]["content"]
    assert "LoadCredential=store:/etc/speedtest-archive/store.env" in service
    assert "User=speedtest-publish" in service
    assert re.findall("^ReadWritePaths=(.*)$", service, re.MULTILINE) == ["/srv/speedtest-archive/store"]


def test_a_host_that_shares_the_archive_takes_turns_and_keeps_the_keys_from_the_nodes_account(here):
    alone, shared = (wanted("speedtest_archive", here, **STORE, shared=on).desired for on in (False, True))
    active = {on: {unit["name"] for unit in lists["units"] if unit.get("active", True)} for on, lists in
              ((False, alone), (True, shared))}  # fmt: skip
    files = {item["path"]: item for item in shared["files"]}
    assert not any("share" in json.dumps(item["path"]) for item in alone["files"])
    assert {"speedtest-share.timer", "speedtest-shared-inbox.socket"} <= active[True]
    assert not {"speedtest-ingest.timer", "speedtest-publish.timer"} & files.keys()
    assert files["/srv/speedtest-archive/fleet/shared.env"]["content"].endswith('="/run/speedtest-shared-inbox.sock"\n')
    units = {path.rpartition("/")[2]: item["content"] for path, item in files.items() if "speedtest-share" in path}
    assert "SocketMode=0600\n" in units["speedtest-shared-inbox.socket"]
    gate, turn = units["speedtest-shared-inbox.service"], units["speedtest-share.service"]
    assert "LoadCredential=store:/etc/speedtest-archive/store.env\n" in gate
    assert "User=speedtest-publish\n" in gate
    assert turn.index("CapabilityBoundingSet=\n") < turn.index("CapabilityBoundingSet=CAP_SETUID CAP_SETGID\n")
    assert not any(secret in text for text in units.values() for secret in ("a key", "an id"))


def test_a_node_pins_the_keys_of_all_archive_hosts(here):
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB{}"
    lists = wanted(
        "speedtest_logger", here, archive_address="a", archive_host_key=key.format("one"), archive_others=["b:2222"],
        archive_other_keys=[key.format("two")],
    ).desired  # fmt: skip
    files = {item["path"].rpartition("/")[2]: item["content"] for item in lists["files"]}
    assert files["known_hosts"].splitlines() == [f"a {key.format('one')}", f"[b]:2222 {key.format('two')}"]
    assert 'SPEEDTEST_ARCHIVE_OTHERS="b:2222"\n' in files["logger.env"]


def test_a_table_on_the_archive_host_itself_is_the_publishers_to_write(here):
    lists = wanted("speedtest_archive", here, store_address="/mnt/usb/table").desired
    (folder,) = [item for item in lists["directories"] if item["path"] == "/mnt/usb/table"]
    assert (folder["owner"], folder["group"], folder["mode"]) == ("speedtest-publish", "speedtest-archive", "2750")
    for name in ("speedtest-publish.service", "speedtest-publish-upkeep.service"):
        (unit,) = [item["content"] for item in lists["files"] if item["path"] == UNITS + name]
        assert "ReadWritePaths=/srv/speedtest-archive/store /mnt/usb/table\n" in unit
    plain = wanted("speedtest_archive", here, **{**STORE, "store_endpoint": "http://127.0.0.1:8333"}).desired
    (secrets,) = [item["content"] for item in plain["files"] if item["path"].endswith("store.env")]
    assert 'AWS_ALLOW_HTTP="true"' in secrets


def test_a_tree_is_published_where_it_is_asked_for(here):
    def publishing(**values):
        lists = wanted("speedtest_archive", here, **values).desired
        (unit,) = [item["content"] for item in lists["files"] if item["path"].endswith("speedtest-publish.service")]
        return re.findall("^(?:ExecStart|ReadWritePaths)=(.*)$", unit, re.MULTILINE), lists["directories"]

    (command, _), _ = publishing(**STORE)
    assert command.endswith("publish --remember --buckets 16 s3://measurements/records")
    (command, _), _ = publishing(**STORE, store_tree="s3://measurements", store_tree_results=True)
    assert command.endswith("--buckets 16 --tree s3://measurements --results s3://measurements/records")
    (command, writes), folders = publishing(store_address="/mnt/usb/table", store_tree="/mnt/usb/plain")
    assert command.endswith("--buckets 16 --tree /mnt/usb/plain /mnt/usb/table")
    assert writes == "/srv/speedtest-archive/store /mnt/usb/table /mnt/usb/plain"
    (folder,) = [item for item in folders if item["path"] == "/mnt/usb/plain"]
    assert (folder["owner"], folder["group"], folder["mode"]) == ("speedtest-publish", "speedtest-archive", "2750")


def test_a_store_opens_one_bucket_to_one_key_and_only_s3_to_others(here):
    given = {"access_key": "an id", "secret_key": "a key", "listen": "192.0.2.1", "max_gb": 10}
    lists = wanted("speedtest_store", here, **given).desired
    files = {item["path"]: item for item in lists["files"]}
    keys = files["/etc/speedtest-store/s3.json"]
    assert (keys["owner"], keys["mode"], keys["secret"]) == ("root", "0600", True)
    (who,) = json.loads(keys["content"])["identities"]
    assert who["credentials"] == [{"accessKey": "an id", "secretKey": "a key"}]
    assert who["actions"] == [f"{right}:measurements" for right in ("Read", "Write", "List", "Tagging")]
    unit = files[UNITS + "speedtest-store.service"]["content"]
    assert "a key" not in unit
    (command,) = re.findall(r"^ExecStart=((?:.*\\\n)*.*)$", unit, re.MULTILINE)
    options = dict(word.partition("=")[::2] for word in command.split()[2:] if "=" in word)
    assert (options["-ip"], options["-ip.bind"], options["-s3.ip.bind"]) == ("127.0.0.1", "127.0.0.1", "192.0.2.1")
    assert (options["-s3.port.iceberg"], options["-s3.port.lance"], options["-s3.iam"]) == ("0", "0", "false")
    ports = [int(options[f"-{part}.port"]) for part in ("s3", "master", "volume", "filer")]
    assert ports == [8333, 8334, 8335, 8336]
    assert int(options["-volume.max"]) * int(options["-master.volumeSizeLimitMB"]) <= 10_000
    (folder,) = [item for item in lists["directories"] if item["path"] == "/srv/speedtest-store"]
    assert (folder["owner"], folder["mode"]) == ("speedtest-store", "0700")


def test_deliveries_over_https_bring_a_unit_a_token_and_take_them_off_again(here):
    unit_of = "speedtest-receive-http.service"
    ssh, https = (wanted("speedtest_archive", here, https_enabled=on).desired for on in (False, True))
    assert unit_of in {item["name"] for item in https["units"]} - {item["name"] for item in ssh["units"]}
    assert https["releases"][0]["restarts"] == [unit_of]
    assert unit_of in ssh["absent_units"]
    assert {UNITS + unit_of, "/var/lib/speedtest-archive/tokens"} <= set(ssh["absent_paths"])
    ways = ("ssh", "https")
    ssh, https = (wanted("speedtest_logger", here, transport=way, archive_ca="PEM").desired for way in ways)
    folder = "/etc/speedtest-telemetry"
    token = {f"{folder}/token", f"{folder}/token.sha256"}
    assert token <= {item["path"] for item in https["attributes"]} - {item["path"] for item in ssh["attributes"]}
    assert f"{folder}/archive-ca.pem" in paths_of(https) - paths_of(ssh)
    assert {*token, f"{folder}/archive-ca.pem"} <= set(ssh["absent_paths"])
    assert not any("TRANSPORT" in item["content"] or "token" in item["content"] for item in ssh["files"])


def test_invitations_are_off_and_what_is_there_without_them_is_what_was_there_before(here):
    unit, names = "speedtest-receive-http.service", ("speedtest_archive", "speedtest_front")
    known_to = "--invitations /var/lib/speedtest-archive/invitations "
    off, on = (
        [files_of(name, here, invitations_enabled=on, **more)[path]["content"] for name, path, more in (
            (names[0], UNITS + unit, {"https_enabled": True}),
            (names[1], "/etc/speedtest-front/Caddyfile", {"tls": "internal", "deliver_enabled": True}),
        )]
        for on in (False, True)
    )  # fmt: skip
    assert off[0] == on[0].replace(known_to, "")
    assert known_to in on[0]
    begin = on[1].index("\thandle /enrol {")
    assert off[1] == on[1][:begin] + on[1][on[1].index("\t# X-Forwarded-For", begin) :]
    assert (
        "/var/lib/speedtest-archive/invitations" in wanted(names[0], here, https_enabled=True).desired["absent_paths"]
    )


@pytest.mark.parametrize(("shared", "name"), [(False, "ingest"), (True, "share")])
def test_systemd_itself_reads_the_times_of_every_timer_of_an_archive_host(here, shared, name):
    files = files_of("speedtest_archive", here, **STORE, shared=shared, backup_repository="/mnt/usb/backup")
    timers = {path: one["content"] for path, one in files.items() if path.endswith(".timer")}
    assert f"{UNITS}speedtest-{name}.timer" in timers
    for path, content in timers.items():
        times = re.findall("(?m)^OnCalendar=(.*)$", content)
        assert times, path
        done = subprocess.run(["systemd-analyze", "calendar", *times], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{path}: {done.stderr}"
