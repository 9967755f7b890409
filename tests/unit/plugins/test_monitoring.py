"""What Prometheus, Alertmanager and exporters are told: their checkers take it, and nothing is open without need."""

from __future__ import annotations

import json
import subprocess

import pytest
import yaml
from builders import ROOT, seen

from plugins.desired import alertmanager, plan, prometheus, roles, speedtest_monitoring
from plugins.filter.monitoring import monitoring_due, monitoring_fleet, monitoring_hosts
from plugins.filter.status import fleet_status
from speedtest_logger.inventory.roles import known
from speedtest_logger.sinks import settings as sink

P = "speedtest_monitoring_"
GROUPS = {
    "speedtest_archive": ["nas"],
    "speedtest_dashboard": ["nas"],
    "speedtest_monitoring": ["nas"],
    "speedtest_nodes": ["nas", "attic", "parents.example.org"],
}
HOSTVARS = {
    "nas": {"ansible_host": "192.0.2.10", "speedtest_logger_location": "home"},
    "attic": {"ansible_host": "2001:db8::21", "speedtest_logger_location": "home", P + "exporter_port": 9200},
    "parents.example.org": {"speedtest_logger_location": "parents", "speedtest_logger_node_name": "parents"},
}
MAIL = {
    "mail_to": ["ops@example.org", "me@example.org"],
    "mail_from": "speed@example.org",
    "mail_smarthost": "mail.example.org",
    "mail_username": "speed",
    "mail_password": "hunter2",
}
REMOTE = {"remote_write_url": "https://prometheus.example.org/api/prom/push", "remote_write_username": "12345"}
PASSWORD = {"remote_write_password": "glc_secret"}
VARIANTS = [
    {},
    {"webhooks": ["https://ntfy.example.org/x?auth=hunter2"], "watchdog_url": "https://hc.example.org/ping/hunter2"},
    {**MAIL, "retention_gb": 20, "bind": "::"},
    {**MAIL, "mail_smarthost": "[2001:db8::5]:2525", "mail_username": "", "mail_tls_enabled": False},
    {**REMOTE, **PASSWORD, "dashboard_key": "hunter2hunter2", "dashboard_url": "https://speed.example.org"},
    {**REMOTE, "remote_write_username": "", "remote_write_token": "hunter2", "remote_write_names": "up"},
]


def fleet(host="nas", groups=GROUPS, **changes):
    hostvars = {name: {**values, **changes.get(name, {})} for name, values in HOSTVARS.items()}
    return monitoring_fleet(hostvars, groups, host)


def values(**changes):
    plain = {name.removeprefix(P): item.default for name, item in known().items() if name.startswith(P)}
    return {**plain, "fleet": fleet(), "grafana_prometheus_url": "http://127.0.0.1:9090", **changes}


def wanted(**changes):
    return roles.Wanted("speedtest_monitoring", values(**changes))


def files(**changes):
    return {item["path"]: item for item in wanted(**changes).desired.get("files", [])}


def checked(program, *words):
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("variant", VARIANTS)
def test_their_own_checkers_take_what_the_servers_are_told(tmp_path, variant):
    made = files(**variant)
    for name in ("prometheus.yml", "alertmanager.yml", "targets/nodes.yml", "targets/dashboard.yml"):
        (tmp_path / name.replace("/", "-")).write_text(made[f"/etc/speedtest-monitoring/{name}"]["content"])
    checked("promtool", "check", "config", "--syntax-only", str(tmp_path / "prometheus.yml"))
    checked("amtool", "check-config", str(tmp_path / "alertmanager.yml"))
    for name in ("nodes", "dashboard"):
        assert isinstance(yaml.safe_load((tmp_path / f"targets-{name}.yml").read_text()), list)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_secret_is_in_files_that_the_service_alone_reads(variant):
    secrets = ("hunter2", "glc_secret")
    held = {path: item for path, item in files(**variant).items() if any(word in item["content"] for word in secrets)}
    assert bool(held) == (variant not in (VARIANTS[0], VARIANTS[3]))  # these log in nowhere
    for path, item in held.items():
        assert (item["owner"], item["group"], item["mode"], item["secret"]) == ("root", "prometheus", "0640", True)
        assert path.startswith(("/etc/speedtest-monitoring/secrets/", "/etc/speedtest-monitoring/alertmanager.yml"))


def test_services_of_one_account_do_not_see_each_other_s_secrets():
    units = {
        path.split("/")[4]: item["content"]
        for path, item in files().items()
        if path.endswith(".service.d/speedtest.conf")
    }
    hidden = {
        name.removesuffix(".service.d"): line.partition("=")[2].replace("-/", "/").split()
        for name, text in units.items()
        for line in text.splitlines()
        if line.startswith("InaccessiblePaths=")
    }
    assert "/etc/speedtest-monitoring" in hidden["prometheus-node-exporter"]
    assert "/etc/speedtest-monitoring/secrets" in hidden["prometheus-alertmanager"]
    assert "/etc/speedtest-monitoring/alertmanager.yml" in hidden["prometheus"]


def test_targets_have_names_and_locations_and_nothing_else_of_a_machine():
    targets = yaml.safe_load(files()["/etc/speedtest-monitoring/targets/nodes.yml"]["content"])
    assert {target["targets"][0]: target["labels"] for target in targets} == {
        "127.0.0.1:9100": {"instance": "nas", "node": "nas", "location": "home"},
        "[2001:db8::21]:9200": {"instance": "attic", "node": "attic", "location": "home"},
        "parents.example.org:9100": {"instance": "parents", "node": "parents", "location": "parents"},
    }


def test_a_node_that_is_not_watched_is_not_asked():
    for changes in ({P + "exporter_enabled": False}, {P + "state": "absent"}):
        names = [node["node"] for node in fleet(attic=changes)["nodes"]]
        assert names == ["nas", "parents"]
    assert fleet("attic", attic={P + "exporter_enabled": False})["exporter"] is False


def test_an_exporter_answers_the_monitoring_host_alone():
    def allowed(**changes):
        made = files(fleet=fleet("attic", **changes))
        place = "/etc/systemd/system/prometheus-node-exporter.service.d/speedtest.conf"
        lines = made[place]["content"].splitlines()
        assert "IPAddressDeny=any" in lines
        return next(line for line in lines if line.startswith("IPAddressAllow=")).partition("=")[2].split()

    assert allowed() == ["localhost", "192.0.2.10"]
    assert allowed(nas={P + "addresses": ["192.0.2.11", "2001:db8::11"]}) == ["localhost", "192.0.2.11", "2001:db8::11"]
    assert allowed(nas={"ansible_host": "nas.example.org"}) == ["localhost"]  # preflight asks for addresses
    assert fleet("attic", nas={P + "state": "absent"})["exporter"] is False


@pytest.mark.parametrize(
    ("changes", "elsewhere", "url"),
    [
        ({}, False, "http://127.0.0.1:8000"),
        ({"speedtest_dashboard_bind": "::1", "speedtest_dashboard_port": 8080}, False, "http://[::1]:8080"),
        ({"speedtest_dashboard_bind": "0.0.0.0"}, False, "http://127.0.0.1:8000"),  # noqa: S104
        ({"speedtest_dashboard_state": "absent"}, False, ""),
        ({}, True, ""),
        ({"speedtest_dashboard_bind": "0.0.0.0"}, True, "http://192.0.2.10:8000"),  # noqa: S104
        ({"speedtest_dashboard_bind": "192.0.2.9"}, True, "http://192.0.2.9:8000"),
        ({"speedtest_front_name": "speed.example.org"}, True, "https://speed.example.org"),
        (
            {"speedtest_front_name": "speed.example.org", "speedtest_front_https_port": 8443},
            True,
            "https://speed.example.org:8443",
        ),
    ],
)
def test_the_dashboard_is_asked_where_this_host_reaches_it(changes, elsewhere, url):
    groups = {**GROUPS, "speedtest_monitoring": ["attic"] if elsewhere else ["nas"]}
    groups["speedtest_front"] = ["nas"] if "speedtest_front_name" in changes else []
    host = "attic" if elsewhere else "nas"
    assert fleet(host, groups, nas=changes)["dashboard"] == url
    made = yaml.safe_load(prometheus.dashboard_targets(values(fleet={"dashboard": url})))
    assert [target["targets"] for target in made] == ([[url.partition("://")[2]]] if url else [])


def test_a_key_for_the_dashboard_is_named_and_not_shown():
    with_key = yaml.safe_load(
        files(dashboard_key="hunter2hunter2")["/etc/speedtest-monitoring/prometheus.yml"]["content"]
    )
    (job,) = [job for job in with_key["scrape_configs"] if job["job_name"] == "speedtest-dashboard"]
    assert job["authorization"] == {"credentials_file": "/etc/speedtest-monitoring/secrets/dashboard-key"}
    without = yaml.safe_load(files()["/etc/speedtest-monitoring/prometheus.yml"]["content"])
    assert "authorization" not in json.dumps(without)


def test_for_an_owner_s_prometheus_there_is_no_server_and_nothing_secret():
    lists = wanted(mode="files", dashboard_key="hunter2hunter2", **MAIL).desired
    assert {"prometheus", "prometheus-alertmanager"} & set(lists.get("packages", [])) == set()
    names = [unit["name"] for unit in lists["units"]]
    assert names == ["prometheus-node-exporter.service"]  # this host is a node too
    assert "hunter2" not in json.dumps(lists)
    assert {"prometheus.service"} & set(lists.get("absent_units", [])) == set()
    jobs = yaml.safe_load(files(mode="files")["/etc/speedtest-monitoring/scrape_configs.yml"]["content"])
    assert [job["job_name"] for job in jobs["scrape_configs"]] == ["speedtest-node", "speedtest-dashboard"]


def test_units_of_debian_s_packages_are_stopped_only_where_they_are_ours():
    """Without our drop-in an exporter, or a Prometheus, is somebody else's."""
    absent = wanted(state="absent").desired
    drop_in = "/etc/systemd/system/prometheus.service.d/speedtest.conf"
    made = plan.plan(absent, seen(paths={drop_in: {"kind": "file"}}))
    assert made["absent_units"] == ["prometheus.service"]
    assert made["absent_paths"] == [drop_in]
    assert made["reload"] == []
    nothing = plan.plan(absent, seen())
    assert (nothing["differs"], nothing["absent_units"]) == (False, [])


def test_a_server_reads_its_configuration_again_and_one_that_goes_is_not_asked_to():
    running = {"prometheus.service": {"active": True, "enabled": True, "present": True, "since": 1.0}}
    config = "/etc/speedtest-monitoring/prometheus.yml"
    there = plan.plan(wanted().desired, seen(units=running))
    assert "prometheus.service" in there["reload"]
    drop_in = "/etc/systemd/system/prometheus.service.d/speedtest.conf"
    paths = {path: {"kind": "file"} for path in (config, drop_in)}
    gone = plan.plan(wanted(state="absent").desired, seen(units=running, paths=paths))
    assert (gone["reload"], gone["absent_units"]) == ([], ["prometheus.service"])


def test_the_watchdog_is_nobody_s_message_but_its_watcher_s():
    made = yaml.safe_load(alertmanager.config(values(webhooks=["https://a.example.org/"])))
    assert made["route"]["routes"][0]["receiver"] == "nobody"
    watched = yaml.safe_load(alertmanager.config(values(watchdog_url="https://hc.example.org/")))
    assert watched["route"]["routes"][0]["receiver"] == "watchdog"
    assert watched["route"]["group_by"] == ["location"]


def test_who_has_something_to_do_with_monitoring():
    assert monitoring_hosts(GROUPS) == ["nas", "attic", "parents.example.org"]
    assert monitoring_hosts({**GROUPS, "speedtest_monitoring": []}) == []
    assert monitoring_due({**GROUPS, "due_speedtest_monitoring": ["attic", "other"]}) == ["attic"]


@pytest.mark.parametrize(
    ("variables", "drifted", "cell"),
    [
        ({}, {"drift": []}, "127.0.0.1:9090"),
        ({P + "bind": "::1", P + "port": 9999}, {"drift": []}, "[::1]:9999"),
        ({P + "mode": "files"}, {"drift": []}, "files"),
        ({P + "state": "absent"}, {"drift": []}, "absent"),
        ({}, {"drift": ["unit prometheus.service: not active"], "units": [{}]}, "NOT RUNNING"),
    ],
)
def test_the_status_says_where_prometheus_is(variables, drifted, cell):
    observed = {f"{P}observed": {"plan": drifted, "programs": {}}}
    found = fleet_status({"arc": {**variables, **observed}}, {"speedtest_monitoring": ["arc"]}, ["arc"])
    (row,) = [line for line in found["table"] if line.startswith("arc (monitoring)")]
    assert cell in row
    assert found["problems"] == [f"arc: differs from the inventory: {words}" for words in drifted["drift"]]


def test_an_exporter_that_differs_is_among_its_node_s_problems():
    differs = {"plan": {"drift": ["unit prometheus-node-exporter.service: not active"]}}
    here = {f"{P}observed": differs, "speedtest_logger_observed": {"plan": {"drift": []}, "programs": {}}}
    found = fleet_status({"attic": here}, {"speedtest_nodes": ["attic"]}, ["attic"])
    assert "attic: differs from the inventory: unit prometheus-node-exporter.service: not active" in found["problems"]


def test_a_node_is_asked_on_its_own_address_where_it_listens_on_one():
    made = fleet(nas={P + "exporter_bind": "192.0.2.10"})
    assert made["nodes"][0]["target"] == "192.0.2.10:9100"
    assert speedtest_monitoring.exporter_url(values(exporter_bind="::1")) == "http://[::1]:9100/"


def test_a_node_that_pulls_has_an_exporter_only_where_it_is_said_how_to_reach_it():
    pulls = {"attic": {"speedtest_logger_converge": "pull"}, "nas": {"speedtest_logger_converge": "pull"}}
    assert [node["node"] for node in fleet()["nodes"]] == ["nas", "attic", "parents"]
    assert [node["node"] for node in fleet(**pulls)["nodes"]] == ["nas", "parents"]  # one that asks has its own
    assert not fleet("attic", **pulls)["exporter"]
    assert fleet("nas", **pulls)["exporter"]
    reached = {"attic": {**pulls["attic"], "speedtest_monitoring_exporter_address": "192.0.2.7"}}
    assert fleet("attic", **reached)["exporter"]
    assert {node["node"]: node["target"] for node in fleet(**reached)["nodes"]}["attic"] == "192.0.2.7:9200"


SOURCE = "/etc/grafana/provisioning/datasources/speedtest-postgresql.yaml"
BOARDS = {f"/etc/speedtest-monitoring/dashboards/postgresql/{name}.json" for name in ("fleet", "line")}
READER = 'a "reader\'s" $PASSWORD: ${HOME} $$ #x\\'
SHOWN = {"fleet": {"server": True, "database": True}, "grafana_enabled": True, "grafana_database_password": READER}
ACCOUNT = {"grafana": {"uid": 990, "gid": 990, "home": "/usr/share/grafana", "shell": "/bin/false", "groups": []}}


def source():
    """The data source as the file has it; Grafana puts a variable in the place of $NAME, and $ in that of $$."""
    (found,) = yaml.safe_load(files(**SHOWN)[SOURCE]["content"])["datasources"]
    return found


def test_grafana_logs_into_the_database_of_its_host_as_who_only_reads():
    found = source()
    assert (found["type"], found["url"], found["user"]) == ("postgres", sink.SOCKET_DIR, sink.READER)
    assert found["jsonData"]["database"] == sink.DATABASE
    written = found["secureJsonData"]["password"]
    assert "$" not in written.replace("$$", "")
    assert written.replace("$$", "$") == READER


def test_the_dashboards_of_the_database_ask_that_data_source():
    made = files(**SHOWN)
    assert {path for path in made if "/postgresql/" in path} == BOARDS
    for path in BOARDS:
        board = json.loads(made[path]["content"])
        (variable,) = [each for each in board["templating"]["list"] if each["type"] == "datasource"]
        assert variable["current"]["value"] == source()["uid"]
        asked = {target["datasource"]["uid"] for panel in board["panels"] for target in [panel, *panel["targets"]]}
        assert asked == {f"${{{variable['name']}}}"}
        assert made[path]["content"] == (ROOT / "dashboards/postgresql" / path.rpartition("/")[2]).read_text()


def test_what_grafana_logs_in_with_is_read_by_its_account_alone_and_in_no_plan():
    made = wanted(**SHOWN).desired
    item = files(**SHOWN)[SOURCE]
    assert (item["owner"], item["group"], item["mode"], item["secret"]) == ("root", "grafana", "0640", True)
    secret = {READER, READER.replace("$", "$$"), json.dumps(READER.replace("$", "$$"))[1:-1]}
    holders = [path for path, each in files(**SHOWN).items() if any(words in each["content"] for words in secret)]
    assert holders == [SOURCE]
    open_to_all = {"kind": "file", "owner": "root", "group": "root", "mode": "0644", "sha256": "0", "safe": True}
    for there in (None, open_to_all):
        planned = plan.plan(made, seen(paths={SOURCE: there}))
        assert SOURCE in [each["path"] for each in planned["secrets"]]
        assert not any(words in repr(planned) for words in secret)


@pytest.mark.parametrize(
    "changes",
    [{"grafana_enabled": False}, {"fleet": {"server": True, "database": False}}, {"fleet": {"server": False}}],
)
def test_without_a_grafana_or_a_database_on_the_host_nothing_of_it_is_there(changes):
    lists = wanted(**{**SHOWN, **changes}).desired
    assert not {item["path"] for item in lists.get("files", [])} & {SOURCE, *BOARDS}
    gone = lists["absent_paths"]
    assert SOURCE in gone
    assert any(
        path in gone for path in ("/etc/speedtest-monitoring/dashboards/postgresql", "/etc/speedtest-monitoring")
    )
    assert READER not in repr(lists)


@pytest.mark.parametrize(
    ("groups", "changes", "there"),
    [
        ({"speedtest_database": ["nas"]}, {}, True),
        ({"speedtest_database": ["attic"]}, {}, False),
        ({}, {}, False),
        ({"speedtest_database": ["nas"]}, {"speedtest_database_state": "absent"}, False),
        ({"speedtest_database": ["nas"]}, {"speedtest_database_dsn": "postgresql://u@db.example.org/x"}, False),
    ],
)
def test_a_monitoring_host_knows_whether_the_database_is_on_it(groups, changes, there):
    assert fleet(groups={**GROUPS, **groups}, nas=changes)["database"] is there
    assert fleet("attic", {**GROUPS, **groups}, nas=changes)["database"] is False  # a node


def test_grafana_is_told_nothing_that_it_could_not_use_and_it_is_said_why():
    def refused(observed, **changes):
        asked = wanted(**{**SHOWN, **changes})
        return asked.besides, asked.found(observed)["refused_grafana"]

    there, missing = {"accounts": ACCOUNT}, {"accounts": {"grafana": None}}
    assert refused(there) == ({"accounts": ["grafana"]}, "")
    assert "seen no account grafana" in refused(missing)[1]
    assert "set speedtest_database_reader_password" in refused(there, grafana_database_password="")[1]
    for nothing in ({"grafana_enabled": False}, {"fleet": {"server": True}}):
        assert refused(seen(), **nothing) == ({}, "")
    assert refused(missing, state="absent")[1] == ""
