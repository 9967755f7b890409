"""The command line, and the server that it starts: real processes, real sockets."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time

import forks
import httpx
import pytest
from builders import ROOT, in_a_process
from dashboards import HASH, PASSWORD

from speedtest_logger import __version__
from speedtest_logger.dashboard import cli, keys, listed
from speedtest_logger.dashboard.keys import Key, Share

PROGRAM = (sys.executable, "-m", "speedtest_logger.dashboard")
SOON = "2100-12-31"
SECONDS = 120  # that a start may take on a machine under load


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    """No settings but a test's own; whatever is chosen for state lies in its folder."""
    for name in [name for name in os.environ if name.startswith("SPEEDTEST_") or name in ("ENV", "DEBUG", "LOG_LEVEL")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)


def anew(options, environment, printed, log):
    """The program as systemd starts it, which imports everything."""
    with log.open("ab") as said:
        return subprocess.Popen([*PROGRAM, *options], stdout=subprocess.PIPE, stderr=said, text=True, env=environment)


def forked(options, environment, printed, log):
    printed.unlink(missing_ok=True)
    os.mkfifo(printed)
    process = forks.Program(["speedtest_logger.dashboard.cli", *options], environment, printed, log)
    process.stdout = printed.open()
    return process


@pytest.fixture
def serve(root, tmp_path):
    """Start the server on a free port; returns its process, its address and what it printed of itself."""
    running = []
    forks.start()

    def serve(*options, start=forked, **variables):
        words = ["serve", "--root", str(root), "--port", "0", *options]
        environment = {**os.environ, **variables, "PYTHONPATH": str(ROOT / "src")}
        process = start(words, environment, tmp_path / "printed", tmp_path / "log")
        running.append(process)
        line = process.stdout.readline()
        found = re.search(r"http://[^ ]+", line)
        assert found, (tmp_path / "log").read_text()
        return process, found[0].rstrip("/"), line

    yield serve
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


def test_help_does_not_load_the_web_framework():
    code = (
        "import sys; from speedtest_logger.dashboard import cli\n"
        "try: cli.main(['--help'])\nexcept SystemExit: pass\n"
        "slow = ('fastapi', 'starlette', 'uvicorn', 'jinja2', 'duckdb', 'pyarrow', 'numpy', 'asyncio')\n"
        "print([name for name in slow if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT / "src")}
    )
    assert "exit codes:" in done.stdout
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("verb", cli.VERBS)
def test_each_verb_says_how_it_is_used_and_its_example_is_one(verb, capsys):
    with pytest.raises(SystemExit) as asked:
        cli.main([verb, "--help"])
    assert asked.value.code == 0
    said = capsys.readouterr().out
    example = cli.VERBS[verb][1]
    assert example in said
    assert cli.parser().parse_args(shlex.split(example)[1:]).verb == verb
    assert verb in cli.ACTIONS


def test_the_server_starts_on_any_archive_says_where_and_ends_when_told(serve, root, tmp_path):
    process, address, said = serve(start=anew)
    assert "127.0.0.1" in address
    assert str(tmp_path / ".local/state/speedtest-dashboard") in said
    answer = httpx.get(f"{address}/health", timeout=SECONDS)
    assert answer.json() == {"status": "healthy", "scheduler": "none"}
    assert "server" not in answer.headers
    process.send_signal(signal.SIGTERM)
    assert process.wait(SECONDS) == 0
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [event["event"] for event in events] == ["started", "stopped"]  # and none for a request
    assert {"time", "level", "address", "archive"} <= set(events[0])
    assert {file.name for file in root.rglob("*")} == {"archive", "manifest", "state"}  # nothing was written there


@pytest.mark.parametrize("abstract", [False, True])  # systemd has used both kinds of names
def test_systemd_hears_when_the_address_can_be_used(serve, tmp_path, abstract):
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"\0{name}" if abstract else name)
        systemd.settimeout(SECONDS)
        _, address, _ = serve(NOTIFY_SOCKET=f"@{name}" if abstract else name)
        assert systemd.recv(100) == b"READY=1"
        assert httpx.get(f"{address}/health", timeout=SECONDS).status_code == 200


def test_a_container_asks_whether_it_is_well(serve, root, write, tmp_path, capsys, monkeypatch):
    """By the same settings file, wherever it listens; one that shows an archive nobody fills any more is not."""
    users = write("users.json", [{"name": "ada", "password": HASH}])
    monkeypatch.setenv("SPEEDTEST_DASHBOARD_USERS_FILE", users)
    _, address, _ = serve("--bind", "0.0.0.0")  # noqa: S104
    file = tmp_path / "dashboard.env"
    port = address.rpartition(":")[2]
    file.write_text(f'SPEEDTEST_DASHBOARD_PORT="{port}"\nSPEEDTEST_DASHBOARD_BIND="0.0.0.0"\n')
    assert cli.main(["health", "--env-file", str(file)]) == 0
    assert json.loads(capsys.readouterr().out) == {"status": "healthy", "scheduler": "none"}
    (root / "fleet").mkdir(exist_ok=True)
    (root / "fleet/schedule.json").write_text("{}")
    assert cli.main(["health", "--env-file", str(file)]) == 1
    assert json.loads(capsys.readouterr().out)["why"] == "nothing was ingested yet"
    with socket.create_server(("127.0.0.1", 0)) as other:
        free = str(other.getsockname()[1])
    assert cli.main(["health", "--port", free, "--bind", "127.0.0.1"]) == 1
    assert json.loads(capsys.readouterr().out)["status"] == "unreachable"


def test_ctrl_c_is_no_failure(serve):
    process, _, _ = serve()
    process.send_signal(signal.SIGINT)
    assert process.wait(SECONDS) == 0


def test_a_restart_logs_nobody_out_and_another_password_does(serve, write, tmp_path):
    users = {"SPEEDTEST_DASHBOARD_USERS_FILE": write("users.json", [{"name": "eva", "password": HASH}])}
    process, address, _ = serve("--state-dir", str(tmp_path / "own"), **users)
    with httpx.Client(timeout=SECONDS) as browser:
        done = browser.post(f"{address}/login", data={"name": "eva", "password": PASSWORD}, headers={"Origin": address})
        assert done.status_code == 303
        cookie = {"speedtest_session": browser.cookies["speedtest_session"]}
    process.terminate()
    process.wait(SECONDS)
    process, address, _ = serve("--state-dir", str(tmp_path / "own"), **users)
    assert httpx.get(f"{address}/api/openapi.json", cookies=cookie, timeout=SECONDS).status_code == 200
    process.terminate()
    process.wait(SECONDS)
    from speedtest_logger.dashboard.users import Hash

    write("users.json", [{"name": "eva", "password": str(Hash.of("another four words"))}])
    _, address, _ = serve("--state-dir", str(tmp_path / "own"), **users)
    assert httpx.get(f"{address}/api/openapi.json", cookies=cookie, timeout=SECONDS).status_code == 401
    assert PASSWORD not in (tmp_path / "log").read_text()


FRONT = "tests.example"


@pytest.fixture
def log_in(serve, write):
    """What a browser is answered that logs in through a front, and through nothing where there is none."""

    def log_in(front: str, said: str = "192.0.2.9", host: str = FRONT) -> httpx.Response:
        users = {"SPEEDTEST_DASHBOARD_USERS_FILE": write("users.json", [{"name": "eva", "password": HASH}])}
        _, address, _ = serve(**users, SPEEDTEST_DASHBOARD_FRONT=front)
        forwarded = {"X-Forwarded-For": said, "X-Forwarded-Proto": "https"}
        headers = {"Host": host, "Origin": f"https://{host}", **forwarded}
        form = {"name": "eva", "password": PASSWORD}
        return httpx.post(f"{address}/login", data=form, headers=headers, timeout=SECONDS)

    return log_in


@pytest.mark.parametrize("said", ["192.0.2.9", "198.51.100.1, 192.0.2.9"])
def test_a_front_on_this_machine_says_whom_it_asks_for(log_in, said, tmp_path):
    """Its own word is the last: what a client has put before it is not believed."""
    cookie = log_in(FRONT, said).headers["set-cookie"]
    assert cookie.startswith("__Host-speedtest_session=")
    assert "; Secure" in cookie
    assert '"address": "192.0.2.9"' in (tmp_path / "log").read_text()


def test_without_a_front_nobody_says_whom_they_ask_for(log_in, tmp_path):
    cookie = log_in("").headers["set-cookie"]
    assert cookie.startswith("speedtest_session=")
    assert "; Secure" not in cookie
    assert '"address": "127.0.0.1"' in (tmp_path / "log").read_text()


@pytest.mark.parametrize(("addresses", "believed"), [("127.0.0.3,127.0.0.2", True), ("127.0.0.3", False)])
def test_a_front_that_is_elsewhere_is_believed_by_its_address(serve, write, tmp_path, addresses, believed):
    users = {"SPEEDTEST_DASHBOARD_USERS_FILE": write("users.json", [{"name": "eva", "password": HASH}])}
    front = {"SPEEDTEST_DASHBOARD_FRONT": FRONT, "SPEEDTEST_DASHBOARD_FRONT_ADDRESSES": addresses}
    _, address, _ = serve(**users, **front)
    headers = {
        "Host": FRONT,
        "Origin": f"https://{FRONT}",
        "X-Forwarded-For": "192.0.2.9",
        "X-Forwarded-Proto": "https",
    }
    form = {"name": "eva", "password": PASSWORD}
    with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.2"), timeout=SECONDS) as asking:
        done = asking.post(f"{address}/login", data=form, headers=headers)
    assert done.headers["set-cookie"].startswith("__Host-speedtest_session=") is believed
    seen = "192.0.2.9" if believed else "127.0.0.2"
    assert f'"address": "{seen}"' in (tmp_path / "log").read_text()


def test_behind_a_front_only_its_name_is_answered(log_in):
    assert log_in(FRONT, host="other.example").status_code == 421


def test_headers_without_an_end_are_refused(serve):
    _, address, _ = serve()
    host, _, port = address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=SECONDS) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000)
        assert b" 400 " in client.recv(100)


def test_an_address_that_is_taken_is_said_in_words(root, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.main(["serve", "--root", str(root), "--port", str(port)]) == 2
    assert f"cannot listen on 127.0.0.1, port {port} (Address already in use)" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["serve", "check"])
def test_what_is_wrong_with_settings_is_exit_2(verb, root, tmp_path, capsys, monkeypatch):
    assert cli.main([verb, "--root", str(tmp_path / "none")]) == 2
    assert "is not an archive" in capsys.readouterr().err
    assert cli.main([verb, "--root", str(root), "--bind", "::"]) == 2
    assert "without users everybody" in capsys.readouterr().err
    assert cli.main([verb, "--root", str(root), "--env-file", str(tmp_path / "none")]) == 2
    assert "No such file" in capsys.readouterr().err
    monkeypatch.setenv("JWT_SECRET_KEY", "x")
    assert cli.main([verb, "--root", str(root)]) == 2
    assert "JWT_SECRET_KEY means nothing here" in capsys.readouterr().err


def test_options_stand_above_the_environment_and_that_above_the_file(root, tmp_path):
    (tmp_path / "env").write_text(
        'SPEEDTEST_DASHBOARD_PORT=1\nSPEEDTEST_DASHBOARD_TITLE="From the file"\n'
        "SPEEDTEST_DASHBOARD_TIME_ZONE=Asia/Tokyo\n"
    )
    args = cli.parser().parse_args(["check", "--root", str(root), "--env-file", str(tmp_path / "env"), "--port", "3"])
    found = cli.settings_of(args, {"SPEEDTEST_DASHBOARD_PORT": "2", "SPEEDTEST_DASHBOARD_TIME_ZONE": "Europe/Berlin"})
    assert (found.port, found.time_zone, found.title) == (3, "Europe/Berlin", "From the file")


def test_a_new_key_is_printed_once_and_what_is_pasted_tells_nobody(capsys):
    assert cli.main(["new-key", "--name", "prometheus", "--scopes", "metrics,read", "--expires", SOON]) == 0
    said = capsys.readouterr()
    key = said.out.strip()
    assert keys.id_of(key)
    assert key not in said.err
    import yaml

    pasted = yaml.safe_load(said.err[said.err.index("speedtest_dashboard_keys:") :])
    (entry,) = pasted["speedtest_dashboard_keys"]
    found = keys.Keys([Key.read(entry)]).find(key)
    assert (found.name, found.scopes) == ("prometheus", {"read", "metrics"})
    assert entry["expires"] == SOON


def test_a_new_share_is_a_link(capsys):
    assert cli.main(["new-share", "--location", "home"]) == 0
    said = capsys.readouterr()
    import yaml

    (entry,) = yaml.safe_load(said.err[said.err.index("speedtest_dashboard_shares:") :])["speedtest_dashboard_shares"]
    token = said.out.strip().removeprefix("/share/")
    assert keys.Shares([Share.read(entry)]).find(token).location == "home"
    assert token not in said.err


@pytest.mark.parametrize(
    "argv",
    [["new-key", "--name", "x", "--scopes", "all"], ["new-key", "--name", " ", "--scopes", "read"],
     ["new-key", "--name", "x", "--scopes", "read", "--expires", "2020-01-01"],
     ["new-key", "--name", "x", "--scopes", "read", "--expires", "tomorrow"],
     ["new-key", "--scopes", "read"], ["new-share", "--location", "../x"], ["serve", "--what"], []],
)  # fmt: skip
def test_a_command_line_that_is_wrong_is_exit_2(argv, capsys):
    with pytest.raises(SystemExit) as refused:
        cli.main(argv)
    assert refused.value.code == 2
    assert "speedtest-dashboard" in capsys.readouterr().err


def hashed(text, **options):
    return subprocess.run(
        [*PROGRAM, "hash-password"],
        input=text, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(ROOT / "src")}, **options,
    )  # fmt: skip


def test_a_password_comes_from_standard_input_and_only_its_hash_goes_out():
    from speedtest_logger.dashboard.users import Hash

    done = hashed(f"{PASSWORD}\n")
    assert done.returncode == 0
    found = Hash.read(done.stdout.strip())
    assert found.is_of(PASSWORD)
    assert (found.n, found.r, found.p) == (2**15, 8, 3)
    for refused in ("\n", "", "changeme1234\n", "admin\n"):
        done = hashed(refused)
        assert (done.returncode, done.stdout) == (2, "")
        assert "password" in done.stderr


def test_a_person_is_asked_twice(capsys, monkeypatch):
    class Terminal:
        @staticmethod
        def isatty():
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    for second, code in ((PASSWORD, 0), ("four horses in a coat", 2)):
        said = iter([PASSWORD, second])
        monkeypatch.setattr("getpass.getpass", lambda _, said=said: next(said))
        assert cli.main(["hash-password"]) == code
    assert "two different passwords" in capsys.readouterr().err


def test_check_says_what_is_well_and_what_is_wrong(root, write, entry_of, capsys, monkeypatch):
    assert cli.main(["check", "--root", str(root)]) == 0
    assert "FAIL" not in capsys.readouterr().out
    entry = {name: value for name, value in entry_of("read", expires="2026-01-31").items() if name != "key"}
    monkeypatch.setenv("SPEEDTEST_DASHBOARD_KEYS_FILE", write("keys.json", [entry]))
    monkeypatch.setenv("SPEEDTEST_DASHBOARD_USERS_FILE", write("users.json", [{"name": "eva", "password": "x"}]))
    (root / "fleet").mkdir()
    (root / "fleet/schedule.json").write_text('{"nodes": {}}')
    assert cli.main(["check", "--root", str(root), "--json"]) == 1
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    failed = {each["code"]: each["text"] for each in found if not each["passed"]}
    assert set(failed) == {"users", "keys", "ingest"}
    assert "hash-password" in failed["users"]
    assert "has expired" in failed["keys"]
    assert failed["ingest"] == "nothing was ingested yet"


def test_check_names_keys_that_soon_expire(root, write, entry_of, capsys, monkeypatch):
    tomorrow = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86_400))
    entry = {name: value for name, value in entry_of("read", expires=tomorrow).items() if name != "key"}
    monkeypatch.setenv("SPEEDTEST_DASHBOARD_KEYS_FILE", write("keys.json", [entry]))
    assert cli.main(["check", "--root", str(root)]) == 0
    assert f"works until {tomorrow}" in capsys.readouterr().out
    assert listed.expiry_of(tomorrow) > time.time()


def test_root_goes_on_as_the_account_whose_the_archive_or_the_dashboard_s_folder_is(root, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    (tmp_path / "own").mkdir()

    def go_on(uid, *options):
        found = cli.settings_of(cli.parser().parse_args(["serve", "--root", str(root), *options]), {"HOME": "/root"})
        assert os.getresuid() == (uid, uid, uid)
        assert os.getresgid() == (uid + 1, uid + 1, uid + 1)
        assert options or found.state_dir.parent.name == f"speedtest-dashboard-{uid}"

    os.chown(root / "archive", 61_001, 61_002)
    in_a_process(lambda: go_on(61_001))
    in_a_process(lambda: go_on(61_001, "--state-dir", str(tmp_path / "own")))  # it is root's
    os.chown(tmp_path / "own", 61_003, 61_004)
    in_a_process(lambda: go_on(61_003, "--state-dir", str(tmp_path / "own")))


def test_the_version_is_the_package_s(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"speedtest-dashboard {__version__}\n"
