"""speedtest-alerts on a small archive: what it prints, what it refuses, and what it never prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
from builders import fresh, put, slot, write_schedule

from speedtest_logger.alerts import cli, post, rules, state
from speedtest_logger.alerts.findings import Finding
from speedtest_logger.alerts.follow import Watched
from speedtest_logger.errors import DeliveryError
from speedtest_logger.record import utc_text

INTERVAL = 600
SECRET = "hunter2-is-secret"
URL = f"ntfys://ada:{SECRET}@ntfy.invalid/{SECRET}"
BEAT = f"https://127.0.0.1:9/{SECRET}"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Two days of a line that was down for four slots yesterday, and slow in five tests before that."""
    layout = fresh(tmp_path_factory)
    now = int(time.time()) // INTERVAL * INTERVAL
    first = now - 288 * INTERVAL
    entry = {"interval_seconds": INTERVAL, "offset_seconds": 0, "location": "home", "valid_to": None}
    plan = {"plan_download_mbps": 100, "plan_upload_mbps": 50}
    write_schedule(layout, attic=[{**entry, **plan, "valid_from": utc_text(first)}])
    down = {"status": "failed", "reason": "no_route", "download_bps": None, "upload_bps": None}
    changes = dict.fromkeys(range(100, 104), down) | {n: {"download_bps": 4e7} for n in range(40, 45)}
    same = {"engine": "iperf3", "engine_requested": "iperf3"}
    put(layout, *(slot("attic", first + n * INTERVAL, **same, **changes.get(n, {})) for n in range(288)))
    (layout.root / state.FOLDER).mkdir()
    layout.first = first
    return layout


@pytest.fixture
def remembered(archive):
    """Findings of the archive as an evaluation would have written them down, and how destinations take them."""
    first = archive.first
    down = Finding("line_down", "home", None, first + 100 * INTERVAL, first + 101 * INTERVAL, first + 104 * INTERVAL,
                   first + 103 * INTERVAL, 4, reason="no_route")  # fmt: skip
    slow = Finding("below_plan", "home", None, first + 40 * INTERVAL, first + 42 * INTERVAL, None, first, 5, 40.0)
    held = Finding("below_plan", "home", "attic", first + 41 * INTERVAL, first + 43 * INTERVAL, None, first, 5, 40.0)
    known = state.State(evaluated=time.time())
    known.book.entries = [
        Watched(down, down.id, told_begin=True, told_end=True, since_told=1.0),
        Watched(slow, slow.id, told_begin=True, since_told=1.0),
        Watched(held, held.id),
    ]
    known.posts = {"phone": state.Post(sent=7, failing_since=first, why="the service did not take it")}
    state.save(archive, known)
    yield {"down": down, "slow": slow, "held": held}
    state.file_of(archive).unlink(missing_ok=True)


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """The file that root keeps, with addresses that are secrets."""
    file = tmp_path / "alerts.json"
    file.write_text(json.dumps({"destinations": [{"name": "phone", "url": URL}], "heartbeat_url": BEAT}))
    monkeypatch.setenv("SPEEDTEST_ALERTS_FILE", str(file))
    return file


@pytest.fixture
def run(archive, settings, monkeypatch, capsys):
    """Run a command line; returns its exit code and what it printed, and never a secret."""
    monkeypatch.setattr(cli.accounts, "become", lambda _: None)
    mask = os.umask(0o027)

    def run(*words):
        code = cli.main(["--root", str(archive.root), *words])
        printed = capsys.readouterr()
        assert SECRET not in printed.out + printed.err
        return code, printed.out, printed.err

    yield run
    os.umask(mask)


def test_list_says_what_lasts_what_was_and_how_destinations_are(run, remembered):
    code, out, _ = run("list")
    assert code == 0
    lasting, waiting, places, lately, _ = out.split("\n\n")
    assert [line.split()[0] for line in lasting.splitlines()[3:]] == [remembered["slow"].id, remembered["held"].id]
    assert "follows" in lasting
    assert waiting == "waiting: nothing waits"
    assert "the service did not take it" in places
    assert remembered["down"].id in lately
    assert "last evaluation: " in out
    content = json.loads(run("list", "--format", "json")[1])
    assert [row["told"] for row in content["open"] + content["lately"]] == ["yes", "follows", "yes"]


def test_list_of_nothing_says_so(run):
    code, out, _ = run("list")
    assert code == 0
    assert "open: nothing is wrong" in out
    assert "last evaluation: never yet" in out


def test_a_list_of_one_file_loads_nothing_to_read_an_archive(archive, settings, remembered):
    code = (
        "import sys\nfrom speedtest_logger.alerts.cli import main\nmain(sys.argv[1:])\n"
        "print(*sorted({'pyarrow', 'duckdb', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    argv = [sys.executable, "-c", code, "--root", str(archive.root), "list", "--format", "json"]
    done = subprocess.run(argv, env={**os.environ, "PYTHONPATH": "src"}, capture_output=True, check=True, text=True)
    assert [row["finding"] for row in json.loads(done.stdout)["lately"]] == [remembered["down"].id]
    assert done.stderr == "\n"


def test_a_finding_that_nobody_was_told_of_is_not_listed_as_told(run, archive, remembered):
    known = state.load(archive)
    for entry in known.book.entries[:2]:
        entry.since_told, entry.told_begin, entry.told_end = None, True, True
    known.book.entries[1].withdrawn, known.book.entries[1].finding.ended = True, int(time.time())
    state.save(archive, known)
    content = json.loads(run("list", "--format", "json")[1])
    assert [row["told"] for row in content["lately"]] == ["no", "withdrawn"]


def test_explain_shows_the_slots_around_a_finding(run, remembered):
    down = remembered["down"]
    code, out, _ = run("explain", down.id[:6])
    assert code == 0
    assert out.startswith("home: line down: the line is down: no_route")
    assert rules.RULES["line_down"].fires in out
    assert "limits now: slots 2 slots" in out
    content = json.loads(run("explain", down.id, "--format", "json")[1])
    marks = {row["finding"]: row["slot"] for row in content["slots"] if row["finding"]}
    assert marks == {
        "begins": utc_text(down.began)[:19] + "Z",
        "fires": utc_text(down.fired)[:19] + "Z",
        "ends": utc_text(down.ended)[:19] + "Z",
    }
    failed = [row for row in content["slots"] if row["outcome"] == "line failed"]
    assert [row["reason"] for row in failed] == ["no_route"] * 4
    assert content["limits"] == {"slots": 2.0}


def test_explain_shows_the_values_that_were_compared(run, remembered):
    content = json.loads(run("explain", remembered["slow"].id, "--format", "json")[1])
    assert [row["value"] for row in content["slots"] if row["value"] not in ("", "100.0")] == ["40.0"] * 5
    assert content["limits"]["percent"] == 70


def test_explain_of_what_was_found_again_is_of_the_last_one(run, archive, remembered):
    known = state.load(archive)
    known.book.entries[0].withdrawn = True
    again = Finding(**{**known.book.entries[0].finding.to_json(), "reason": "dns_failed"})
    known.book.entries.append(Watched(again, again.id))
    state.save(archive, known)
    assert "dns_failed" in run("explain", again.id)[1].splitlines()[0]


def test_explain_without_the_registrys_line_still_has_words(run, archive, remembered):
    disk = Finding("disk", "", None, archive.first, archive.first, worst=3.0)
    known = state.load(archive)
    known.book.entries.append(Watched(disk, disk.id))
    state.save(archive, known)
    code, out, _ = run("explain", disk.id)
    assert (code, "3.0 % of the archive's disk is free" in out) == (0, True)


@pytest.mark.parametrize(("name", "words"), [("zzz", "there is none of that name"), ("", "the beginning of several")])
def test_explain_of_no_finding_says_where_to_look(run, remembered, name, words):
    code, _, err = run("explain", name)
    assert code == 2
    assert words in err
    assert "speedtest-alerts list" in err


def test_replay_finds_what_was(run):
    code, out, err = run("replay", "--last", "40h")
    assert code == 0
    assert len(out.splitlines()) == 2 + 1
    assert "line_down" in out
    assert err.startswith("1 findings of 1 lines in 40 h")
    rows = json.loads(run("replay", "--last", "3d", "--format", "json")[1])
    assert [(row["rule"], row["of"], row["told"]) for row in rows] == [
        ("below_plan", "home", "yes"),
        ("line_down", "home", "yes"),
    ]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--set", "below_plan.percent=30"], ["line_down"]),
        (["--set", "below_plan.tests=6"], ["line_down"]),
        (["--set", "below_plan=false", "--set", "line_down.slots=5"], []),
        (["--set", "latency.ms=0.1"], ["below_plan", "line_down"]),  # it was not measured
        (["--location", "home"], ["below_plan", "line_down"]),
    ],
)
def test_replay_with_other_limits(run, words, found):
    code, out, _ = run("replay", "--last", "3d", "--format", "json", *words)
    assert (code, [row["rule"] for row in json.loads(out)]) == (0, found)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "slow=true"], "'slow' is no rule: line_down"),
        (["--set", "loss"], "write it like below_plan.percent=60 or loss=true"),
        (["--set", "loss=maybe"], "true or false is expected, or a parameter: loss.NAME=VALUE"),
        (["--set", "loss.percent=much"], "'much' is not a number"),
        (["--set", "loss.percent=nan"], "is not a number from 0.01 to 100"),
        (["--set", "loss.percent=101"], "101.0 is not a number from 0.01 to 100"),
        (["--set", "loss.ms=1"], "loss.ms: the rule has no such parameter: percent, tests, clear"),
        (["--location", "farm"], "no node measures 'farm': home"),
    ],
)
def test_replay_of_what_cannot_be_says_why(run, words, said):
    code, out, err = run("replay", *words)
    assert (code, out) == (2, "")
    assert said in err


def test_replay_for_no_time_is_refused(run, capsys):
    with pytest.raises(SystemExit) as ended:
        run("replay", "--last", "soon")
    assert ended.value.code == 2
    assert "'soon' is not a duration: write it like 90d or 12h" in capsys.readouterr().err


def test_rules_shows_each_with_the_fleets_limits(run, settings):
    settings.write_text(json.dumps({"rules": {"below_plan": {"percent": 60}, "unstable": False, "loss": True}}))
    code, out, _ = run("rules")
    assert code == 0
    assert "below_plan (warning, on: percent 60, tests 3, clear 4)" in out
    assert "unstable (warning, off)" in out
    content = json.loads(run("rules", "--format", "json")[1])
    assert set(content) == set(rules.RULES)
    assert (content["unstable"], content["loss"]["percent"]) == (None, 2)


def test_a_test_says_of_each_destination_what_became_of_it(run, settings, monkeypatch):
    entries = [{"name": name, "url": URL} for name in ("phone", "mail")]
    settings.write_text(json.dumps({"destinations": entries}))
    got = []

    def send(destination, message):
        got.append((destination.name, message.title))
        if destination.name == "mail":
            raise DeliveryError("the service did not take it")

    monkeypatch.setattr(post, "by_apprise", send)
    assert run("test") == (4, "phone: sent\nmail: the service did not take it\n", "")
    assert run("test", "--to", "phone")[:2] == (0, "phone: sent\n")
    assert got[-1] == ("phone", "speedtest: a test")
    code, _, err = run("test", "--to", "pager")
    assert (code, "no such destination: phone, mail" in err) == (2, True)


def test_no_address_is_ever_printed(run, archive, remembered):
    for words in (["test"], ["run"], ["run", "--now"], ["list"], ["list", "--format", "json"], ["rules"]):
        code, out, err = run(*words)  # `run` looks for the secret
        assert code in (0, 1, 4), (words, out, err)
    assert SECRET not in state.file_of(archive).read_text()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"destinations": [{"name": "phone", "ulr": URL}]}, "destination 1: url is missing"),
        ({"destinations": [{"name": URL, "url": URL}]}, "destination 1: name: "),
        ({"destinations": [{"name": "phone", "url": URL, "severity": URL}]}, "destination 1: severity: an address"),
        ({"heartbeat_url": SECRET}, "heartbeat_url"),
    ],
)
@pytest.mark.parametrize("verb", ["run", "test", "list", "rules"])
def test_settings_that_are_wrong_are_named_by_every_verb(run, settings, verb, content, words):
    settings.write_text(json.dumps(content))
    code, out, err = run(verb)
    assert (code, out) == (2, "")
    assert words in err


def test_without_settings_one_can_look_and_not_send(run, settings):
    settings.unlink()
    assert [run(*words)[0] for words in (["list"], ["rules"], ["replay"])] == [0, 0, 0]
    code, _, err = run("test")
    assert code == 2
    assert "set speedtest_archive_alerts_destinations and run site.yml" in err


def test_what_is_no_archive_is_said(run, tmp_path, capsys):
    assert cli.main(["--root", str(tmp_path / "none"), "list"]) == 2
    assert "is not an archive: give its directory with --root" in capsys.readouterr().err


def test_a_state_that_is_damaged_says_what_to_do(run, archive, remembered):
    state.file_of(archive).write_bytes(b"{")
    code, _, err = run("list")
    assert code == 5
    assert "move it away, and findings are told anew" in err


def test_a_digest_that_comes_first_is_made_though_nothing_was_ever_wrong(run, archive, settings, monkeypatch):
    """When a destination was added is known from the first evaluation on, whether or not anything left."""
    sent = []
    monkeypatch.setattr(post, "by_apprise", lambda _, message: sent.append(message.title))
    settings.write_text(json.dumps({"destinations": [{"name": "phone", "url": URL, "digest": "daily"}],
                                    "rules": dict.fromkeys(rules.RULES, False)}))  # fmt: skip
    assert run("run")[0] == 0
    assert state.load(archive).posts["phone"].digest > 0
    known = state.load(archive)
    known.posts["phone"].digest -= 86_400
    state.save(archive, known)
    assert run("run")[0] == 0
    assert sent == ["1 line: the last day"]
    assert run("run")[0] == 0
    assert len(sent) == 1
    state.file_of(archive).unlink()


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_has_help_with_an_example(verb, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([verb, "--help"])
    assert ended.value.code == 0
    assert f"example:\n  speedtest-alerts {verb}" in capsys.readouterr().out
