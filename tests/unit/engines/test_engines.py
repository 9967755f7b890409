"""Every engine on its own recorded words: units, failures, command lines."""

from __future__ import annotations

import json

import pytest
from builders import FIXTURES, VERSIONS, recorded, recordings

from speedtest_logger import engines
from speedtest_logger.engines.catalogue import ENGINES
from speedtest_logger.engines.contract import Job, Output
from speedtest_logger.errors import EngineError
from speedtest_logger.record import REASONS


def parse(name, *outputs):
    return engines.get(name).parse(list(outputs))


def test_librespeed_mbit_become_bits():
    result = parse("librespeed", recorded("librespeed-1.0.11-ok.json"))
    assert result.download_bps == pytest.approx(144.66e6)
    assert result.upload_bps == pytest.approx(34.33e6)
    assert (result.latency_ms, result.jitter_ms) == (0.09, 0.36)
    assert (result.bytes_received, result.bytes_sent) == (28968008, 6881280)
    assert (result.server_name, result.server_host) == ("lab", "http://target:8989/")
    assert result.isp is result.external_ip is result.ip_family is None


def test_librespeed_latency_of_zero_is_no_measurement():
    item = json.loads((FIXTURES / "librespeed-1.0.11-http-ping.json").read_text())
    item[0]["ping"] = item[0]["jitter"] = 0
    result = parse("librespeed", Output(0, json.dumps(item).encode()))
    assert result.latency_ms is None
    assert result.jitter_ms is None


def test_librespeed_http_latency_is_a_mean_of_whole_milliseconds():
    """Eleven round trips, each cut down to whole ms: the reason why a fast line gets 0."""
    ping = json.loads((FIXTURES / "librespeed-1.0.11-http-ping.json").read_text())[0]["ping"]
    assert ping * 11 == pytest.approx(round(ping * 11), abs=0.06)


def test_librespeed_without_upload_has_no_upload():
    result = parse("librespeed", recorded("librespeed-1.0.11-no-upload.json"))
    assert result.download_bps
    assert result.upload_bps is None
    assert result.bytes_sent is None


def test_librespeed_old_builds_print_one_object():
    item = json.loads((FIXTURES / "librespeed-1.0.11-ok.json").read_text())[0]
    assert parse("librespeed", Output(0, json.dumps(item).encode())).download_bps == pytest.approx(144.66e6)


def test_iperf3_counts_what_arrived():
    result = parse("iperf3", recorded("iperf3-3.12-download.json"), recorded("iperf3-3.12-upload.json"))
    down, up = (json.loads((FIXTURES / f"iperf3-3.12-{way}.json").read_text())["end"] for way in ("download", "upload"))
    assert result.download_bps == down["sum_received"]["bits_per_second"]
    assert result.upload_bps == up["sum_received"]["bits_per_second"] < up["sum_sent"]["bits_per_second"]
    assert result.upload_latency_ms == pytest.approx(up["streams"][0]["sender"]["mean_rtt"] / 1000)
    assert result.latency_low_ms == pytest.approx(up["streams"][0]["sender"]["min_rtt"] / 1000)
    assert result.latency_ms is None
    assert result.ip_family == 4
    assert result.server_host == "target:5201"


def test_iperf3_udp_has_loss_and_jitter():
    result = parse("iperf3", recorded("iperf3-3.12-udp-download.json"))
    end = json.loads((FIXTURES / "iperf3-3.12-udp-download.json").read_text())["end"]
    assert result.jitter_ms == pytest.approx(end["sum_received"]["jitter_ms"])
    assert result.packet_loss_pct == pytest.approx(end["sum_received"]["lost_percent"])


def test_iperf3_up_to_3_9_tells_of_udp_what_was_sent_and_lost():
    """20 Mbit/s sent, a quarter lost: 15 Mbit/s and 9,375,000 of 12,500,000 bytes arrived."""
    result = parse("iperf3", recorded("iperf3-3.9-udp-download.json"), recorded("iperf3-3.9-udp-upload.json"))
    assert (result.download_bps, result.upload_bps) == (15e6, 4e6)
    assert (result.bytes_received, result.bytes_sent) == (9_375_000, 2_500_000)
    assert (result.packet_loss_pct, result.jitter_ms, result.message) == (25.0, 0.0412, None)


def test_iperf3_3_1_has_no_round_trips_and_no_connect_timeout():
    result = parse("iperf3", recorded("iperf3-3.1.3-download.json"), recorded("iperf3-3.1.3-upload.json"))
    new = parse("iperf3", recorded("iperf3-3.12-download.json"), recorded("iperf3-3.12-upload.json"))
    assert (result.download_bps, result.upload_bps) == (new.download_bps, new.upload_bps)
    assert result.upload_latency_ms is result.latency_low_ms is None
    assert all(
        "--connect-timeout" not in line
        for version in ("3.1", "3.1.3", "3.0.7")
        for line in words("iperf3", version=version)
    )
    assert all(
        "--connect-timeout 5000" in line
        for version in ("3.2", "3.12", "3.18", None)
        for line in words("iperf3", version=version)
    )


def test_iperf3_3_1_prints_what_is_no_json():
    assert b"-nan" in recorded("iperf3-3.1.3-udp-nan.json").stdout
    assert parse("iperf3", recorded("iperf3-3.1.3-udp-nan.json")).download_bps == 15e6


@pytest.mark.parametrize("lost", [None, 179.6, "many"])
def test_iperf3_udp_whose_loss_is_unknown_is_refused_in_words(lost):
    """What arrived cannot be computed; a failed upload of that kind leaves the download."""
    content = json.loads((FIXTURES / "iperf3-3.9-udp-download.json").read_text())
    content["end"]["sum"]["lost_percent"] = lost
    unknown = Output(0, json.dumps(content).encode())
    with pytest.raises(EngineError, match=r"what was sent and the share that was lost.*update to 3.10") as caught:
        parse("iperf3", unknown)
    assert caught.value.reason == "bad_output"
    assert parse("iperf3", recorded("iperf3-3.9-udp-download.json"), unknown).upload_bps is None


def test_a_loss_above_100_percent_is_left_out_and_told():
    result = parse("iperf3", recorded("iperf3-3.12-udp-loss-180.json"))
    assert result.packet_loss_pct is None
    assert result.message == "packet_loss_pct left out: 179.649 is no percentage"
    assert result.download_bps == parse("iperf3", recorded("iperf3-3.12-udp-download.json")).download_bps
    ookla = json.loads((FIXTURES / "ookla-1.2.0-ok.json").read_text())
    for loss, kept in ((100, 100.0), (100.5, None), (-1, None)):
        told = parse("ookla", Output(0, json.dumps({**ookla, "packetLoss": loss}).encode()))
        assert told.packet_loss_pct == kept


def test_iperf3_upload_that_fails_leaves_the_download():
    result = parse("iperf3", recorded("iperf3-3.12-download.json"), recorded("iperf3-3.12-refused.json"))
    assert result.download_bps
    assert result.upload_bps is None


def test_speedtest_cli_bits_stay_bits_and_the_impossible_ping_is_dropped():
    result = parse("speedtest_cli", recorded("speedtest-cli-2.1.3-ok.json"))
    assert result.download_bps == pytest.approx(1125674168.8996406)
    assert result.latency_ms is None  # the recording says 1,800,000 ms
    assert (result.server_id, result.server_country, result.isp) == ("4711", "Germany", "Example Net")
    assert (result.external_ip, result.ip_family) == ("203.0.113.7", 4)


@pytest.mark.parametrize(("ping", "latency"), [(12.5, 12.5), (600000.0, None), (1200000.0, None), (0, None)])
def test_speedtest_cli_pings(ping, latency):
    content = {**json.loads((FIXTURES / "speedtest-cli-2.1.3-ok.json").read_text()), "ping": ping}
    assert parse("speedtest_cli", Output(0, json.dumps(content).encode())).latency_ms == latency


def test_ookla_bytes_become_bits():
    result = parse("ookla", recorded("ookla-1.2.0-ok.json"))
    assert result.download_bps == 11534336 * 8
    assert result.upload_bps == 5242880 * 8
    assert (result.latency_ms, result.latency_low_ms, result.latency_high_ms) == (9.871, 9.213, 10.95)
    assert (result.download_latency_ms, result.upload_latency_ms) == (34.2, 51.7)
    assert result.packet_loss_pct == 0.0
    assert result.result_url.endswith("5b3f1f4e")


def test_ookla_loss_that_is_absent_is_not_zero():
    result = parse("ookla", recorded("ookla-1.0.0-no-loss.json"))
    assert result.packet_loss_pct is None
    assert result.latency_low_ms is None


FAILURES = [
    ("librespeed", recorded("librespeed-1.0.11-dead.json"), "server_unreachable"),
    ("librespeed", Output(0, b"[]"), "server_unreachable"),
    ("librespeed", Output(1, b"", b'Get "https://x": dial tcp: lookup x: no such host'), "dns_failed"),
    ("librespeed", Output(1, b"", b"dial tcp 192.0.2.1:9: connect: connection refused"), "server_unreachable"),
    ("iperf3", recorded("iperf3-3.12-refused.json"), "server_unreachable"),
    ("iperf3", recorded("iperf3-3.18-refused.json"), "server_unreachable"),
    ("iperf3", recorded("iperf3-3.18-busy.json"), "server_busy"),
    ("iperf3", recorded("iperf3-3.12-dns.json"), "server_unreachable"),
    ("iperf3", Output(0, b'{"start": {}, "end": {"sum_received": {"bits_per_second": 0}}}'), "bad_output"),
    ("speedtest_cli", recorded("speedtest-cli-2.1.3-no-config.txt", 1), "dns_failed"),
    ("speedtest_cli", Output(1, b"", b"ERROR: HTTP Error 403: Forbidden"), "engine_error"),
    ("speedtest_cli", Output(1, b"", b"ERROR: HTTP Error 429: Too Many Requests"), "rate_limited"),
    ("ookla", recorded("ookla-1.2.0-error.jsonl", 2), "dns_failed"),
    ("ookla", recorded("ookla-1.2.0-limit.jsonl", 173), "rate_limited"),
    ("ookla", Output(2, b'{"type":"log","level":"error","message":"Something odd"}'), "engine_error"),
    ("ookla", recorded("ookla-1.2.0-dns-in-text.txt", 2), "dns_failed"),
    ("ookla", recorded("ookla-1.0.0-dns-in-text.txt", 2), "dns_failed"),
    ("ookla", recorded("ookla-1.0.0-resolve.txt", 2), "dns_failed"),
    ("ookla", recorded("ookla-1.2.0-bind.txt", 2), "no_route"),
    ("ookla", recorded("ookla-1.2.0-503.txt", 2), "server_unreachable"),
    ("ookla", recorded("ookla-1.2.0-socket.jsonl", 2), "server_unreachable"),
    ("ookla", recorded("ookla-1.2.0-no-servers.jsonl", 2), "server_unreachable"),
    ("librespeed", Output(1, b"", b"No server is currently available, please try again later."), "server_unreachable"),
]


@pytest.mark.parametrize(("name", "output", "reason"), FAILURES)
def test_failures_have_their_reason(name, output, reason):
    with pytest.raises(EngineError) as caught:
        parse(name, output)
    assert caught.value.reason == reason
    assert reason in REASONS
    assert str(caught.value)


def test_ooklas_cause_in_text_stands_before_its_json():
    """On either stream; its times, whose milliseconds may be 429, are no words of it."""
    text, _, line = (FIXTURES / "ookla-1.2.0-dns-in-text.txt").read_bytes().rstrip(b"\n").rpartition(b"\n")
    for output in (recorded("ookla-1.2.0-dns-in-text.txt", 2), Output(2, line, text), Output(2, text, line)):
        with pytest.raises(EngineError) as caught:
            parse("ookla", output)
        assert caught.value.reason == "dns_failed"
        assert str(caught.value).startswith("Trying to get interface information on non-initialized socket.; ")
        assert str(caught.value).count("Could not retrieve or read configuration (Configuration)") == 1
        assert str(caught.value).endswith("configuration (ConfigurationError)")


def test_a_cause_beyond_the_message_still_counts():
    with pytest.raises(EngineError) as caught:
        parse("speedtest_cli", Output(1, b"", b"x " * 600 + b"Temporary failure in name resolution"))
    assert caught.value.reason == "dns_failed"
    assert len(str(caught.value)) == 500


def test_ooklas_errors_beside_a_result_do_not_undo_it():
    ok = recorded("ookla-1.2.0-ok.json")
    said = (FIXTURES / "ookla-1.2.0-socket.jsonl").read_bytes()
    assert parse("ookla", Output(0, ok.stdout, said)).download_bps == 11534336 * 8


NONSENSE = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b"[1]",
    b'"text"',
    b"[" * 100_000,
    b"\xff\xfe",
    b'{"download": "fast"}',
    b"[{}]",
    b'{"type":"result"}',
    b'{"end": []}',
    b'[{"download": -1, "upload": NaN}]',
    b'{"download": true, "upload": true}',
    b'{"end": {"streams": 5, "sum_received": 3}}',
    b'{"error": {"deep": 1}}',
]


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("returncode", [0, 1])
@pytest.mark.parametrize("stdout", NONSENSE, ids=range(len(NONSENSE)))
def test_contract_nonsense_is_an_engine_error(name, returncode, stdout):
    with pytest.raises(EngineError) as caught:
        parse(name, Output(returncode, stdout))
    assert caught.value.reason in REASONS


def good(name):
    """Recordings of measurements that went well."""
    return recordings(name, "ok.json") or recordings(name, "download.json")


@pytest.mark.parametrize("name", ENGINES)
def test_contract_a_measurement_and_a_version_are_recorded(name):
    assert [len(recordings(name, "version.txt")), len(good(name)) > 0] == [1, True]
    for file in good(name):
        assert parse(name, recorded(file.name)).download_bps


@pytest.mark.parametrize("name", ENGINES)
def test_contract_truncated_json_and_megabytes_are_bad_output(name):
    wholes = [file.read_bytes() for file in good(name)]
    halves = [Output(0, whole[: len(whole) // 2]) for whole in wholes]
    for output in (*halves, Output(-1, b"x" * 5_000_000, b"", truncated=True)):
        with pytest.raises(EngineError) as caught:
            parse(name, output)
        assert caught.value.reason == "bad_output"


@pytest.mark.parametrize("name", ENGINES)
def test_contract_version_tells_the_programs_apart(name):
    engine = engines.get(name)
    for other, program in ENGINES.items():
        assert (engine.version_of(VERSIONS[program.name]) is not None) == (other == name)
    assert engine.version_of("command not found") is None


def words(name, **job):
    values = {"server": "192.0.2.1"} if ENGINES[name].own_server else {}
    return [
        " ".join(command.argv) for command in engines.get(name).commands(Job(ENGINES[name].name, **{**values, **job}))
    ]


def test_command_lines():
    assert words(
        "librespeed", server="7", duration=5, ip_family="6", source_interface="eth1", extra_args=("--no-icmp",)
    ) == ["librespeed-cli --json --telemetry-level disabled --duration 5 --server 7 --ipv6 --interface eth1 --no-icmp"]
    assert words("librespeed", blocked_servers=("3", "4"))[0].endswith("--exclude 3 --exclude 4")
    assert words("iperf3", server="[2001:db8::1]:5202", duration=3, ip_family="6", source_address="2001:db8::2") == [
        "iperf3 -J -c 2001:db8::1 -p 5202 -t 3 --connect-timeout 5000 -6 -B 2001:db8::2 -R",
        "iperf3 -J -c 2001:db8::1 -p 5202 -t 3 --connect-timeout 5000 -6 -B 2001:db8::2",
    ]
    assert words("speedtest_cli", server="4711", source_address="192.0.2.9") == [
        "speedtest-cli --json --secure --server 4711 --source 192.0.2.9"
    ]
    assert words("ookla", server="4711", source_interface="eth1") == [
        "speedtest --format=json --progress=no --accept-license --accept-gdpr --server-id 4711 --interface eth1"
    ]


@pytest.mark.parametrize(
    ("url", "base", "download"),
    [
        ("http://target:8989/", "http://target:8989/", "garbage"),
        ("http://target:8989", "http://target:8989/", "garbage"),
        ("https://example.org/backend/garbage.php", "https://example.org/backend/", "garbage.php"),
    ],
)
def test_librespeed_own_servers_become_a_list_of_one(url, base, download):
    command = engines.get("librespeed").commands(Job("librespeed-cli", server=url))[0]
    server = json.loads(command.stdin)[0]
    assert (server["server"], server["dlURL"]) == (base, download)
    assert "--local-json - --server 1" in " ".join(command.argv)


@pytest.mark.parametrize(
    ("name", "job"),
    [
        ("iperf3", {"server": None}),
        ("speedtest_cli", {"ip_family": "6"}),
        ("speedtest_cli", {"source_interface": "eth1"}),
        ("ookla", {"ip_family": "4"}),
        ("ookla", {"blocked_servers": ("1",)}),
    ],
)
def test_what_an_engine_cannot_do_is_said(name, job):
    with pytest.raises(EngineError):
        words(name, **job)
