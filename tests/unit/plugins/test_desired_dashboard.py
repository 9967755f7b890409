"""What the dashboard wants on its host, in both runtimes, and the workbench beside it."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
import yaml
from builders import seen
from desired_states import KEYS, NAME, RUNTIMES, SHARES, UNITS, USERS, files_of, is_gone, paths_of, wanted

from plugins.desired import plan as planning
from speedtest_logger import __version__
from speedtest_logger.workbench import cli as workbench

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


READ = ("files", "links", "releases")


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
        ("0.0.0.0", "http://127.0.0.1:8000/health", False),  # noqa: S104  (what it is told)
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
