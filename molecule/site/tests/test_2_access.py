"""A node's key can do nothing but deliver its own records."""

from __future__ import annotations

import json
import uuid

import pytest
from fleet import attempt, on, query, wait_until

KEY = "/etc/speedtest-telemetry/id_ed25519"
SSH = (  # as the account that the key belongs to: ssh refuses anybody else
    f"runuser -u speedtest -- ssh -F none -i {KEY} -o BatchMode=yes"
    " -o UserKnownHostsFile=/etc/speedtest-telemetry/known_hosts"
)


def archive_address() -> str:
    return on("shed", "grep ARCHIVE_HOST= /etc/speedtest-telemetry/logger.env").split('"')[1]


def answered(payload: str, command: str) -> str:
    """What comes of a command with shed's key and what a shell command gives it to read.

    Shed's own delivery may be under way: that is waited for.
    """
    said = ""

    def is_heard() -> bool:
        nonlocal said
        said = attempt("shed", f"{payload} | {SSH} speedtest-archive@{archive_address()} {command}").stdout
        return '"refused": "busy"' not in said

    wait_until("nothing else of shed's is under way", is_heard, 30, "shed", every=0.5)
    return said


def deliver(payload: str) -> dict:
    """Send a payload made by a shell command with shed's key; returns the archive's answer."""
    return json.loads(answered(payload, "receive 2>/dev/null").strip().splitlines()[-1])


@pytest.fixture(scope="module")
def record() -> dict:
    """One that shed delivered."""
    return query("SELECT * EXCLUDE (day, year, month) FROM records WHERE node = 'shed' AND status = 'ok' LIMIT 1")[0]


def another(record: dict, **changes: object) -> dict:
    """A record like it, of a measurement by hand."""
    return {**record, "run_id": str(uuid.uuid4()), "scheduled_at": None, **changes}


def write_payload(*rows: dict) -> None:
    lines = "\n".join(map(json.dumps, rows))
    on("shed", f"cat > /root/payload <<'END'\n{lines}\nEND")


@pytest.fixture(scope="module", autouse=True)
def the_archive_stays_intact():
    """Whatever the tests send: what was there is there, other nodes deliver, nothing is left half done."""
    before = query(
        "SELECT count(*) AS n, count(DISTINCT run_id) AS ids FROM records WHERE finished_at < now() - INTERVAL 1 MINUTE"
    )[0]
    yield
    after = query("SELECT count(*) AS n, count(DISTINCT run_id) AS ids FROM records")[0]
    assert after["n"] == after["ids"] >= before["n"]
    on("porch", "speedtest-logger push --force")
    assert query("SELECT count(*) AS n FROM records WHERE node NOT IN ('attic', 'porch', 'shed')") == [{"n": 0}]


@pytest.mark.parametrize("command", ["/bin/sh -i", "'cat /etc/passwd'", "'speedtest-receive --node attic'"])
def test_no_shell_and_no_other_command(command):
    said = answered("echo", f"{command} 2>&1")
    assert '"node": "shed"' in said, said
    assert "root:" not in said


def test_no_terminal():
    done = attempt("shed", f"echo | {SSH} -tt speedtest-archive@{archive_address()} 2>&1")
    assert "PTY allocation request failed" in done.stdout


@pytest.mark.parametrize("program", ["scp -O", "scp -s", "sftp"])
def test_no_file_copy(program):
    options = SSH.removeprefix("ssh ")
    there = f"speedtest-archive@{archive_address()}"
    source = f"{there}:/etc/passwd /root/stolen"
    done = attempt("shed", f"timeout 60 {program} {options} {source}")
    assert done.returncode != 0
    assert attempt("shed", "test -e /root/stolen").returncode != 0


def test_no_port_forwarding():
    there = f"speedtest-archive@{archive_address()}"
    done = attempt(
        "shed", f"(sleep 3) | timeout 60 {SSH} -o ExitOnForwardFailure=yes -R 2222:127.0.0.1:22 {there} 2>&1"
    )
    assert "remote port forwarding failed" in done.stdout
    script = (
        "rm -f /root/stdin && mkfifo /root/stdin; "
        f"timeout 120 {SSH} -L 2223:127.0.0.1:22 {there} </root/stdin >/dev/null 2>/root/forward & exec 3>/root/stdin; "
        "timeout 60 sh -c 'until ss -Htln sport = 2223 | grep -q .; do sleep 0.1; done'; "
        "timeout 60 bash -c 'head -c 4 < /dev/tcp/127.0.0.1/2223'; exec 3>&-; wait; cat /root/forward"
    )
    done = attempt("shed", script)
    assert "SSH-" not in done.stdout
    assert "administratively prohibited" in done.stdout


REFUSED = [
    ({"node": "attic"}, "other_node"),
    ({"node": "../attic"}, "bad_id"),
    ({"location": "../../etc"}, "bad_id"),
    ({"location": "a/b"}, "bad_id"),
    ({"location": "elsewhere"}, "other_location"),
    ({"download_bps": -1}, "bad_number"),
    ({"surprise": 1}, "unknown_column"),
    ({"schema_version": 2}, "schema_version"),
]


def test_rows_that_are_not_its_own_or_no_record_are_refused_with_a_reason(record):
    sent = [(another(record, **changes), reason) for changes, reason in REFUSED]
    write_payload(*(row for row, _ in sent))
    answer = deliver("cat /root/payload")
    assert answer["accepted"] == []
    assert {run: words.split(":")[0] for run, words in answer["rejected"].items()} == {
        row["run_id"]: reason for row, reason in sent
    }
    kept = on("archive", "cat /srv/speedtest-archive/quarantine/shed/*.jsonl")
    assert [reason for _, reason in sent if reason not in kept] == []


def test_a_row_of_tomorrow_is_put_off_and_refused_to_nobody(record):
    row = another(record, started_at="2099-01-01T00:00:00.000Z", finished_at="2099-01-01T00:00:01.000Z")
    write_payload(row)
    answer = deliver("cat /root/payload")
    assert (answer["accepted"], answer["rejected"]) == ([], {})
    assert answer["later"][row["run_id"]].startswith("from_the_future:")


def test_broken_utf8_is_refused_and_its_neighbour_accepted(record):
    good = another(record, status="failed", reason="engine_error", message="by hand")
    write_payload(good)
    answer = deliver(r"(printf '{\"run_id\": \"\377\376\"}\n'; cat /root/payload)")
    assert answer["accepted"] == [good["run_id"]]
    assert "bad_json" in on("archive", "cat /srv/speedtest-archive/quarantine/shed/*.jsonl")


def test_a_gigabyte_in_one_line_is_refused():
    assert deliver("head -c 1000000000 /dev/zero")["refused"] == "line_too_long"


def test_a_gigabyte_in_lines_is_refused():
    assert deliver("yes '{}' | head -c 1000000000")["refused"] in ("too_many_rows", "too_large")


def test_a_million_rows_are_refused(record):
    write_payload(another(record))
    assert deliver('yes "$(cat /root/payload)" | head -n 1000000')["refused"] in ("too_many_rows", "too_large")
