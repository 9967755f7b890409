"""A server on the measuring machine itself is refused, with a record that says so."""

from __future__ import annotations

import os
import socket
import subprocess

import pytest
from builders import REPLAY_IPERF3

from speedtest_logger.log import Log
from speedtest_logger.node import doctor, measure, network
from speedtest_logger.node.spool import Spool


def own_addresses():
    """The addresses of this machine's interfaces, as the kernel lists them."""
    said = subprocess.run(["ip", "-o", "address"], capture_output=True, text=True, check=True).stdout.splitlines()
    return [line.split()[3].split("/")[0] for line in said if " fe80:" not in line]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.53", "localhost", "0"])
def test_an_address_of_this_machine_is_own(host):
    assert network.is_own(host)


def test_all_addresses_of_this_machine_are_own():
    """Labs come and go beside the tests: what counts is an address that was there before and after."""
    found = {host: network.is_own(host) for host in own_addresses()}
    still = set(own_addresses()) & set(found)
    assert still
    assert [host for host in still if not found[host]] == []


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "name.invalid", "", "a" * 70, "a..b"])
def test_what_lies_elsewhere_or_nowhere_is_not(host):
    assert not network.is_own(host)


def test_nothing_is_sent_to_find_out():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 9))
        listener.settimeout(0.1)
        assert network.is_own("127.0.0.1")
        with pytest.raises(TimeoutError):
            listener.recv(1)


@pytest.mark.parametrize(
    "chain", [{"engines": "iperf3", "iperf3_servers": "localhost:5201"}, {"librespeed_servers": "http://127.0.0.1:1/"}]
)
def test_the_slot_fails_and_says_why(settings, program, tmp_path, monkeypatch, chain):
    monkeypatch.setattr(network, "outage_reason", lambda _: None)
    known = settings(**{"engines": "librespeed", **chain})
    path = program("iperf3", f"touch {tmp_path}/asked; {REPLAY_IPERF3}")
    found = measure.measure(known, Log(known.log_file), {**os.environ, "PATH": path})
    assert (found.status, found.reason, found.download_bps) == ("failed", "engine_error", None)
    assert "is this machine itself" in found.message
    assert "SPEEDTEST_OWN_SERVER_ALLOWED=true" in found.message
    assert not (tmp_path / "asked").exists()
    assert len(list(Spool(known.state_dir).outbox.glob("*.csv"))) == 1


def test_another_server_of_the_chain_is_measured(settings, program, tmp_path, monkeypatch):
    monkeypatch.setattr(network, "outage_reason", lambda _: None)
    known = settings(iperf3_servers="localhost 192.0.2.1")
    found = measure.measure(known, Log(known.log_file), {**os.environ, "PATH": program("iperf3", REPLAY_IPERF3)})
    assert (found.status, found.attempt) == ("ok", 2)


def test_it_is_measured_where_that_is_allowed(settings, program, tmp_path, monkeypatch):
    monkeypatch.setattr(network, "outage_reason", lambda _: None)
    known = settings(iperf3_servers="localhost", own_server_allowed="true")
    found = measure.measure(known, Log(known.log_file), {**os.environ, "PATH": program("iperf3", REPLAY_IPERF3)})
    assert found.status == "ok"


@pytest.mark.parametrize(
    ("server", "allowed", "code"),
    [
        ("192.0.2.1", "false", "SERVERS"),
        ("localhost", "false", "OWN_SERVER"),
        ("localhost", "true", "SERVERS"),
    ],
)
def test_the_doctor_says_so(settings, server, allowed, code):
    found = doctor.servers(settings(iperf3_servers=f"192.0.2.1 {server}", own_server_allowed=allowed))
    assert (found.code, found.passed) == (code, code == "SERVERS")
    assert found.passed or "SPEEDTEST_OWN_SERVER_ALLOWED=true" in found.text
