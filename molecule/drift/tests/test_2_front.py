"""The dashboard over https: whom the front answers, what it tells the dashboard, where its certificates come from."""

from __future__ import annotations

import json
import re

import acme
import pytest
from fleet import attempt, on, playbook, quoted, wait_until
from security import exposure

NODE = "homelab"
NAME = "speed.example.org"
UNIT = "speedtest-front.service"
CADDYFILE = "/etc/speedtest-front/Caddyfile"
ROOT = "/var/lib/speedtest-front/caddy/pki/authorities/local/root.crt"
MOST_EXPOSED = 2.0
HSTS = "strict-transport-security: max-age=31536000"
WORDS = "four words of a test"  # ada's password
# What the page of a logged-in browser does: it opens a WebSocket, and is told how things are. In one thread: OpenSSL
# must not read and write in two at once, as the client of websockets.sync does (seen: [SSL] internal error).
SOCKET = """
import asyncio, ssl, sys
from websockets.asyncio.client import connect
root, name, cookie = sys.argv[1:]
async def main():
    trusting = ssl.create_default_context(cafile=root)
    async with connect(f"wss://{name}/ws", host="127.0.0.1", port=443, ssl=trusting, server_hostname=name,
                       origin=f"https://{name}", open_timeout=60, additional_headers={"Cookie": cookie}) as secured:
        print(await asyncio.wait_for(secured.recv(), 60))
asyncio.run(main())
"""


def asked(path: str = "/login", *options: str, name: str = NAME, root: str = ROOT, scheme: str = "https") -> str:
    """What a browser that trusts a root is answered, names of headers in lower case; or how curl ended."""
    port = 443 if scheme == "https" else 80
    said = attempt(
        NODE,
        f"curl --silent --show-error --max-time 60 --include --cacert {root} --resolve {name}:{port}:127.0.0.1 "
        f"{' '.join(map(quoted, options))} {scheme}://{name}{path}",
    )
    if said.returncode:
        return f"curl {said.returncode}: {said.stdout}"
    head, _, body = said.stdout.replace("\r", "").partition("\n\n")
    names = re.sub(r"(?m)^[\w-]+:", lambda name: name[0].lower(), head)
    return f"{names}\n\n{body}"


def status(answer: str) -> int:
    """An answer's status code; 0 where there was none."""
    found = re.match(r"HTTP/[12.]+ (\d+)", answer)
    return int(found[1]) if found else 0


def log_in(source: str, *options: str, words: str = WORDS) -> str:
    """What the login form is answered, sent from one of loopback's addresses."""
    form = ["--data-urlencode", "name=ada", "--data-urlencode", f"password={words}"]
    return asked("/login", *form, "--header", f"Origin: https://{NAME}", "--interface", source, *options)


def test_only_https_is_answered_under_the_front_s_own_name():
    answer = asked()
    assert status(answer) == 200, answer
    assert HSTS in answer
    assert "server:" not in answer
    redirected = asked("/line/home?range=7d", scheme="http")
    assert status(redirected) == 308
    assert f"location: https://{NAME}/line/home?range=7d" in redirected
    assert asked(name="other.example.org").startswith("curl 35")  # there is no certificate for it
    assert status(asked(name="other.example.org", scheme="http")) == 421
    assert status(asked("/login", "--header", "Host: other.example.org")) == 421


def test_what_is_large_is_compressed():
    assert "content-encoding:" in asked("/static/dashboard.css", "--compressed")


def test_a_login_is_told_from_whom_it_comes_and_its_cookie_is_for_https_alone():
    """Whatever a client says of itself: neither another address nor a fresh throttle comes of it."""
    answer = log_in("127.0.0.5", "--header", "X-Forwarded-For: 192.0.2.66", "--header", "X-Forwarded-Proto: http")
    assert status(answer) == 303, answer
    cookie = re.search(r"set-cookie: (\S+);.*", answer)
    assert cookie is not None, answer
    assert cookie[1].startswith("__Host-speedtest_session=")
    assert "; Secure" in cookie[0]
    journal = "journalctl --unit speedtest-dashboard --output cat --no-pager"
    wait_until("the journal has it", lambda: '"address": "127.0.0.5"' in on(NODE, journal), 30, every=0.5)
    assert "192.0.2.66" not in on(NODE, journal)
    guesses: list[int] = []
    while 429 not in guesses and len(guesses) < 20:  # after five, and where they are slow one more each half minute
        other = f"X-Forwarded-For: 192.0.2.{len(guesses)}"
        guesses.append(status(log_in("127.0.0.6", "--header", other, words="others")))
    assert guesses[-1] == 429, guesses
    assert set(guesses[:-1]) == {401}
    assert len(guesses) >= 6


def test_a_web_socket_passes_through_for_who_has_logged_in():
    found = re.search(r"set-cookie: (\S+);", log_in("127.0.0.7"))
    assert found is not None
    python = f"/opt/speedtest-dashboard/venv/bin/python -c {quoted(SOCKET)} {ROOT} {NAME}"
    told = attempt(NODE, f"{python} {found[1]}")
    assert told.returncode == 0, told.stdout
    assert json.loads(told.stdout)["type"] == "hello"
    assert "HTTP 401" in attempt(NODE, f"{python} ''").stdout


def test_its_service_is_sandboxed():
    found, said = exposure(NODE, UNIT)
    print(f"{UNIT}: {found}")
    assert found <= MOST_EXPOSED, said
    stock = attempt(NODE, "systemctl is-enabled caddy.service; systemctl show --property=MainPID caddy.service")
    assert stock.stdout.split() == ["disabled", "MainPID=0"]
    listening = on(NODE, "ss --listening --tcp --numeric --no-header --processes | grep caddy")
    assert sorted(set(re.findall(r":(\d+)\s", listening))) == ["443", "80"]


def test_a_dashboard_that_is_down_is_said_in_words():
    on(NODE, "systemctl stop speedtest-dashboard.service")
    try:
        page, problem = asked("/"), asked("/api/v1/nodes")
    finally:
        on(NODE, "systemctl start speedtest-dashboard.service")
    assert status(page) == status(problem) == 502
    assert HSTS in page
    assert "The dashboard is down" in page
    assert "systemctl status speedtest-dashboard" in page
    assert json.loads(problem.partition("\n\n")[2])["status"] == 502
    assert status(asked()) == 200


def converge(**variables: str) -> tuple[int, str]:
    """How playbooks/dashboard.yml ended with other values, and what it said."""
    extra = json.dumps({f"speedtest_front_{name}": value for name, value in variables.items()})
    done = playbook("playbooks/dashboard.yml", "--extra-vars", extra)
    return done.returncode, " ".join(done.stdout.split())


def test_a_configuration_that_caddy_refuses_does_not_replace_the_one_that_works(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate\n")
    before = on(NODE, f"sha256sum {CADDYFILE}; systemctl show --property=MainPID {UNIT}")
    code, said = converge(tls="acme", acme_ca_file=str(tmp_path / "ca.pem"))
    assert code != 0
    assert "the old one stays" in said
    assert on(NODE, f"sha256sum {CADDYFILE}; systemctl show --property=MainPID {UNIT}") == before
    assert status(asked()) == 200


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> dict[str, str]:
    """An ACME server on the same machine."""
    return acme.start(NODE, NAME, "127.0.0.1", tmp_path_factory.mktemp("pebble"))


def test_an_acme_server_gives_a_certificate_and_another_one_in_time(authority):
    code, said = converge(tls="acme", acme_directory="https://localhost:14000/dir", acme_ca_file=authority["own.pem"])
    assert code == 0, said[-3000:]
    acme.renew_at_once(NODE)
    root = f"{acme.PLACE}/root.pem"
    wait_until("there is a certificate", lambda: status(asked(root=root)) == 200, 30, every=0.5)
    process = on(NODE, f"systemctl show --property=MainPID {UNIT}")
    acme.another(NODE, NAME)
    wait_until("it is trusted", lambda: status(asked(root=root)) == 200, 30, every=0.5)
    assert on(NODE, f"systemctl show --property=MainPID {UNIT}") == process
    assert acme.validated(NODE, NAME)


def test_a_certificate_of_one_s_own_is_taken_as_it_is(authority):
    code, said = converge(tls="files", certificate_file=authority["own.pem"], key_file=authority["own.key"])
    assert code == 0, said[-3000:]
    assert "PRIVATE KEY" not in said
    assert status(asked(root=f"{acme.PLACE}/own.pem")) == 200
    shown = on(NODE, "stat --format '%U %G %a' /etc/speedtest-front/key.pem").strip()
    assert shown == "root speedtest-front 640"
    assert attempt(NODE, "ls /etc/speedtest-front/acme-ca.pem").returncode != 0
