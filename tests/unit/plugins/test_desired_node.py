"""What the logger wants on a node: its probes, its release, whom it believes and how it delivers."""

from __future__ import annotations

import pytest
from desired_states import UNITS, is_gone, paths_of, wanted

from plugins.desired import speedtest_logger as role_of_node

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


def test_a_node_pins_the_keys_of_all_archive_hosts(here):
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB{}"
    lists = wanted(
        "speedtest_logger", here, archive_address="a", archive_host_key=key.format("one"), archive_others=["b:2222"],
        archive_other_keys=[key.format("two")],
    ).desired  # fmt: skip
    files = {item["path"].rpartition("/")[2]: item["content"] for item in lists["files"]}
    assert files["known_hosts"].splitlines() == [f"a {key.format('one')}", f"[b]:2222 {key.format('two')}"]
    assert 'SPEEDTEST_ARCHIVE_OTHERS="b:2222"\n' in files["logger.env"]


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
