"""The dashboard in a container and as a unit: each goes on with what the other had, and both answer alike."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from fleet import ROOT, attempt, login, measure_by_hand, on, playbook, query, recap, wait_until

from speedtest_logger import __version__
from speedtest_logger.dashboard import settings
from speedtest_logger.dashboard.app import create_app, openapi
from speedtest_logger.dashboard.guard import routes_of

HOST = "container"
CONTAINER, UNIT = "speedtest-dashboard", "speedtest-dashboard.service"
CONFIG, STATE = "/etc/speedtest-dashboard", "/var/lib/speedtest-dashboard"
ARCHIVE = "/srv/speedtest-archive"
PORT, TWIN_PORT = 8000, 8001
NAME, PASSWORD = "ada", "four horses in a boat"
KEY = "stk_Sj3J5yW0_w2lNzFx04oo4XdyoMKhTMIGrjR4OA9sP_UU4VkSEzvM"
TOKEN = "C4CUoBD0BjKNHs13Ivx1p1CLrPa50S0cum4QzJoufJ8"
NOTE = "a new router"
ORIGIN = f"http://127.0.0.1:{PORT}"


def ask(path: str, *options: str, port: int = PORT) -> str:
    """What curl gets on the host itself."""
    return on(HOST, f"curl --silent --show-error {' '.join(options)} 'http://127.0.0.1:{port}{path}'")


def answers(port: int = PORT) -> bool:
    """Whether a dashboard answers."""
    return "status" in attempt(HOST, f"curl --silent http://127.0.0.1:{port}/health").stdout


def inspect() -> dict[str, Any]:
    """Docker's own view of the container."""
    found: list[dict[str, Any]] = json.loads(on(HOST, f"docker container inspect {CONTAINER}"))
    return found[0]


def become(runtime: str) -> None:
    """Another runtime, and a second run that changes nothing."""
    extra = ("playbooks/dashboard.yml", "--extra-vars", json.dumps({"speedtest_dashboard_runtime": runtime}))
    done = playbook(*extra)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "scrypt" not in done.stdout
    again = playbook(*extra)
    assert {counts["changed"] for counts in recap(again).values()} == {0}, again.stdout[-3000:]


@pytest.fixture(scope="module")
def cookie() -> str:
    """A session that began while the dashboard was in a container."""
    wait_until("a record is in the archive", lambda: bool(query("SELECT 1 FROM records LIMIT 1", HOST)), 150, HOST)
    form = urlencode({"name": NAME, "password": PASSWORD})
    said = ask("/login", "--include", "--data", f"'{form}'", "-H", f"'Origin: {ORIGIN}'")
    return re.findall(r"(?i)^set-cookie: (speedtest_session=[^;]+)", said, re.MULTILINE)[0]


@pytest.fixture(scope="module")
def note(cookie: str) -> str:
    """A note that was written then: its id."""

    def is_there() -> bool:
        """The line's figures are made when its first record is in the archive: until then the answer is 503."""
        return ask("/line/home", "--include", "--cookie", cookie).startswith("HTTP/1.1 200")

    wait_until("the line has a page", is_there, 60, HOST, every=0.5)
    form = urlencode({"text": NOTE, "at": "2026-01-02T03:04"})
    said = ask("/line/home/notes", "--include", "--data", f"'{form}'", "-H", f"'Origin: {ORIGIN}'", "--cookie", cookie)
    assert re.match(r"HTTP/1.1 303", said), said
    return notes()[0]["id"]


def notes() -> list[dict[str, Any]]:
    """What the dashboard keeps of them."""
    return [json.loads(line) for line in on(HOST, f"cat {STATE}/notes.jsonl").splitlines()]


def assert_all_is_there(cookie: str, note: str) -> None:
    """The session goes on, the note stands on its page, key and link open what they did."""
    wait_until("it answers", answers, 60, HOST, every=0.5)
    assert NOTE in ask("/line/home", "--cookie", cookie)
    assert [each["id"] for each in notes()] == [note]
    assert json.loads(ask("/api/v1/locations", "-H", f"'Authorization: Bearer {KEY}'"))
    assert "<html" in ask(f"/share/{TOKEN}")
    told = ask("/metrics", "-H", f"'Authorization: Bearer {KEY}'")
    assert re.findall(r'^speedtest_slots_total\{node="(\w+)",location="home",outcome="ok"\} [1-9]', told, re.MULTILINE)
    assert re.findall(r"^speedtest_archive_rows [1-9]", told, re.MULTILINE)
    form = urlencode({"name": NAME, "password": PASSWORD})
    said = ask("/login", "--include", "--data", f"'{form}'", "-H", f"'Origin: {ORIGIN}'")
    assert re.match(r"HTTP/1.1 303", said), said


def test_the_container_can_do_what_the_unit_can_and_no_more():
    wait_until("it is healthy", lambda: inspect()["State"]["Health"]["Status"] == "healthy", 60, HOST, every=1)
    found, inside = inspect(), f"docker exec {CONTAINER}"
    uid, gid = on(HOST, "id -u speedtest-dashboard; id -g speedtest-dashboard").split()
    archive_gid = on(HOST, "id -g speedtest-archive").strip()
    assert (found["Config"]["User"], found["HostConfig"]["GroupAdd"]) == (f"{uid}:{gid}", [archive_gid])
    limits = found["HostConfig"]
    assert (limits["ReadonlyRootfs"], limits["CapDrop"], limits["NetworkMode"]) == (True, ["ALL"], "host")
    status = on(HOST, f"{inside} /usr/bin/python3 -c 'print(open(\"/proc/self/status\").read())'")
    assert "CapBnd:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    writable = f"{inside} /usr/bin/python3 -c 'import sys; open(sys.argv[1], \"w\")'"
    for path in (f"{ARCHIVE}/archive/x", f"{CONFIG}/x", "/usr/x", "/opt/speedtest-dashboard/x"):
        assert "Read-only file system" in attempt(HOST, f"{writable} {path}").stdout, path
    on(HOST, f"{writable} {STATE}/x && rm {STATE}/x")
    assert "denied" in attempt(HOST, f"{inside} /usr/bin/python3 -c 'open(\"/etc/shadow\")'").stdout
    listening = re.findall(rf"(\S+):{PORT}\s", on(HOST, "ss --listening --tcp --numeric --no-header"))
    assert listening == ["127.0.0.1"]
    shown = on(HOST, f"stat --format '%U %G %a' {CONFIG}/users.json {CONFIG}/keys.json {CONFIG}/shares.json")
    assert set(shown.splitlines()) == {"root speedtest-dashboard 640"}


def test_commands_work_on_the_host():
    assert on(HOST, "speedtest-dashboard --version").startswith("speedtest-dashboard ")
    # until the first slot is over and ingested it says that nothing was
    wait_until("all is well", lambda: "FAIL" not in attempt(HOST, "speedtest-dashboard check").stdout, 150, HOST)
    assert on(HOST, "echo four horses in a boat | speedtest-dashboard hash-password").startswith("scrypt$")
    assert attempt(HOST, "command -v pip; ls /opt/speedtest-dashboard/venv").returncode != 0


def test_a_unit_goes_on_with_what_the_container_had(cookie, note):
    keep_a_twin()
    rollups = on(HOST, f"stat --format %i {STATE}/rollup.duckdb")
    become("systemd")
    assert on(HOST, f"systemctl is-active {UNIT}").strip() == "active"
    assert on(HOST, f"docker ps --all --quiet --filter name=^{CONTAINER}$; docker image ls -q {CONTAINER}") == ""
    assert attempt(HOST, f"ls {CONFIG}/compose.yml").returncode != 0
    shown = on(HOST, f"stat --format '%U %G %a' {CONFIG}/users.json {CONFIG}/keys.json {CONFIG}/shares.json")
    assert set(shown.splitlines()) == {"root root 600"}
    assert on(HOST, f"stat --format %i {STATE}/rollup.duckdb") == rollups
    assert_all_is_there(cookie, note)


def keep_a_twin() -> None:
    """The container's image and project under other names, for later: the switch takes both off."""
    places = f"s#{CONFIG}#/etc/twin#g; s#{STATE}#/var/lib/twin#g"
    names = f"s#image: .*#image: twin:1#; s#: {CONTAINER}$#: twin#"
    # an image goes with all of its names: it needs to be another
    recipe = f"FROM {CONTAINER}:{__version__}\\nLABEL twin=1\\n"
    on(HOST, f"printf '{recipe}' | docker build --quiet --tag twin:1 - && cp -a {CONFIG} /etc/twin")
    on(HOST, f"sed -i '{places}; {names}' /etc/twin/compose.yml")
    on(HOST, f'sed -i \'{places}; s#PORT="{PORT}"#PORT="{TWIN_PORT}"#\' /etc/twin/dashboard.env')


@pytest.fixture(scope="class")
def twin(note: str) -> Iterator[None]:
    """The container as the role had made it, beside the unit, with a copy of what people have written."""
    on(HOST, f"cp -a {STATE} /var/lib/twin && rm -f /var/lib/twin/rollup.duckdb*")
    on(HOST, "docker compose --project-directory /etc/twin --project-name twin up --detach --no-build --pull never")
    wait_until("the twin answers", lambda: answers(TWIN_PORT), 60, every=0.5)
    yield
    on(HOST, "docker compose --project-directory /etc/twin --project-name twin down; docker image rm twin:1")
    on(HOST, "rm -rf /etc/twin /var/lib/twin")


@contextmanager
def program(name: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    """One of the programs of molecule/shared, running on the host."""
    text = (ROOT / "molecule/shared/programs" / name).read_text(encoding="utf-8")
    on(HOST, f"cat >/root/{name} <<'END_OF_PROGRAM'\n{text}\nEND_OF_PROGRAM")
    argv = [*login(HOST), f"sudo python3 /root/{name} {' '.join(words)}"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


def questions(folder: Path, cookie: str) -> list[list[Any]]:
    """Every route that is asked with GET: by a person with what its parameters can ask for, by a key, by nobody."""
    record = query("SELECT run_id, node FROM records WHERE raw_sha256 IS NOT NULL ORDER BY started_at LIMIT 1", HOST)[0]
    given = {**record, "location": "home", "year": "2026", "token": TOKEN}
    for name in ("root/archive", "root/manifest", "root/state", "own"):
        (folder / name).mkdir(parents=True)
    app = create_app(
        settings.load({"SPEEDTEST_ARCHIVE_DIR": str(folder / "root"), "SPEEDTEST_DASHBOARD_DIR": str(folder / "own")})
    )
    described = openapi(app)["paths"]
    plain, more = set(), set()
    for path in {route.path for route in routes_of(app) if "GET" in route.methods}:
        parameters = described.get(path, {}).get("get", {}).get("parameters", [])
        needed = (
            "location=home&" if "location" in {each["name"] for each in parameters if each["in"] == "query"} else ""
        )
        here = f"{path.format(**given)}?{needed}"
        known = {each["name"] for each in parameters} if path in described else {"range"}
        plain.add(here.rstrip("?&"))
        more |= {here + each for each in ("range=7d", "format=csv", "by_day=true") if each.partition("=")[0] in known}
    static = {f"/static/{file.name}" for file in Path(settings.__file__).with_name("static").glob("*.*")}
    by_key = {path for path in plain if path.startswith("/api/")}
    who = (({"Cookie": cookie}, plain | more), ({"Authorization": f"Bearer {KEY}"}, by_key), ({}, plain | static))
    return [["GET", path, headers, None] for headers, paths in who for path in sorted(paths)]


class TestBothAreAlikeByteForByte:
    """Unit and container, side by side."""

    def test_answers(self, twin, cookie, tmp_path):
        """Status, headers and body of every page and of every question of the API; by a person, a key, and nobody."""
        asked = questions(tmp_path, cookie)
        with program("ask.py", str(PORT), str(TWIN_PORT)) as process:
            said, _ = process.communicate(json.dumps(asked))
        assert process.returncode == 0
        found = [json.loads(line) for line in said.splitlines()]
        print(f"{len(asked)} questions, {sum(each[0] == 'differs' for each in found)} answered differently")
        assert [each for each in found if each[0] == "differs"] == []
        refused = [question[1].partition("?")[0] for _, question, _, _ in found if question[2]]
        # one line only, no raw output; metrics and logs are for other keys; where nobody asks, most is refused
        assert {path.rpartition("/")[2] for path in refused} <= {"compare", "raw", "metrics", "logs"}, refused
        assert len([question for _, question, _, _ in found if not question[2]]) > len(refused)

    def test_web_sockets(self, twin, cookie):
        """Handshakes, refusals, texts: to a person, a key, nobody, another site; and a record that arrives."""
        who = {"person": {"Cookie": cookie}, "key": {"Authorization": f"Bearer {KEY}"}}
        with program("follow.py", str(PORT), str(TWIN_PORT), "300") as process:
            assert process.stdin
            assert process.stdout
            print(json.dumps(who), file=process.stdin)
            process.stdin.close()
            found = []
            for line in process.stdout:
                if line == "following\n":
                    measure_by_hand("timer")
                else:
                    found.append(json.loads(line))
        assert process.returncode == 0
        assert [each for each in found if each[0] != "alike"] == []
        heard = {what.partition(":")[0]: text for _, what, text, _ in found}
        assert '{"type": "record"' in heard["a record"]
        assert '"run_id"' in heard["who comes back"]
        assert "HTTP/1.1 101" in heard["key "]
        assert "HTTP/1.1 401" in heard["nobody "]
        assert "HTTP/1.1 403" in heard["person from elsewhere"]
        print(f"{len(found)} conversations over WebSockets, alike")


def test_and_the_container_goes_on_with_what_the_unit_had(cookie, note):
    become("compose")
    assert attempt(HOST, f"systemctl cat {UNIT}").returncode != 0
    for path in ("venv", "venvs", "previous-venv"):
        assert attempt(HOST, f"ls -d /opt/speedtest-dashboard/{path}").returncode != 0
    assert inspect()["State"]["Running"]
    assert_all_is_there(cookie, note)
