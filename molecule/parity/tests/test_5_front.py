"""A front on Debian 13 before a dashboard in a container; the ACME server and the browser are other machines."""

from __future__ import annotations

import json
import re

import acme
import pytest
from fleet import attempt, on, playbook, quoted, recap, wait_until
from security import exposure

HOST, AUTHORITY, BROWSER = "container", "hub", "timer"
NAME = "speed.example.org"
ROOT = "/root/acme-root.pem"
MOST_EXPOSED = 2.0


@pytest.fixture(scope="module")
def address() -> str:
    """The front's, on the lab's network."""
    return on(HOST, "hostname -I").split()[0]


@pytest.fixture(scope="module")
def front(address, tmp_path_factory) -> tuple[str, ...]:
    """A machine more in the group speedtest_front: what a playbook is told."""
    folder = tmp_path_factory.mktemp("front")
    trusted = acme.start(AUTHORITY, NAME, address, folder)
    on(BROWSER, f"cat >{ROOT} <<'END_OF_ROOT'\n{on(AUTHORITY, f'cat {acme.PLACE}/root.pem')}\nEND_OF_ROOT")
    values = {
        "speedtest_front_name": NAME,
        "speedtest_front_tls": "acme",
        "speedtest_front_acme_directory": f"https://{AUTHORITY}:14000/dir",
        "speedtest_front_acme_ca_file": trusted["own.pem"],
    }
    inventory = folder / "front.yml"
    inventory.write_text(json.dumps({"speedtest_front": {"hosts": {HOST: values}}}), encoding="utf-8")
    return "playbooks/dashboard.yml", "-i", str(inventory)


@pytest.fixture(scope="module")
def asked(address):
    """What a browser on another machine is answered, and how its curl ended."""

    def ask(path: str = "/login", *options: str, name: str = NAME, scheme: str = "https") -> tuple[int, str]:
        port = 443 if scheme == "https" else 80
        said = attempt(
            BROWSER,
            f"curl --silent --show-error --max-time 60 --include --cacert {ROOT} --resolve {name}:{port}:{address} "
            f"{' '.join(map(quoted, options))} {scheme}://{name}{path}",
        )
        return said.returncode, said.stdout.replace("\r", "")

    return ask


def status(answer: tuple[int, str]) -> int:
    """An answer's status code; 0 where there was none."""
    found = re.match(r"HTTP/[12.]+ (\d+)", answer[1])
    return int(found[1]) if found else 0


def test_a_certificate_comes_from_a_machine_that_has_asked_the_name(front, asked):
    done = playbook(*front)
    assert done.returncode == 0, done.stdout[-3000:]
    wait_until("there is a certificate", lambda: status(asked()) == 200, 30, every=0.5)
    assert acme.validated(AUTHORITY, NAME)
    again = playbook(*front)
    assert {counts["changed"] for counts in recap(again).values()} == {0}, again.stdout[-3000:]
    assert on(HOST, ". /etc/os-release; echo $VERSION_CODENAME").strip() == "trixie"
    acme.renew_at_once(HOST)  # pebble's certificates last for less than what follows
    wait_until("there is one that has not expired", lambda: status(asked()) == 200, 30, every=0.5)


def test_it_answers_the_network_over_https_under_its_own_name_alone(front, asked):
    code, redirected = asked("/line/home", scheme="http")
    assert (code, status((code, redirected))) == (0, 308)
    assert f"location: https://{NAME}/line/home" in redirected.lower()
    assert asked(name="other.example.org")[0] == 35  # there is no certificate for it
    assert status(asked(name="other.example.org", scheme="http")) == 421
    form = "name=ada&password=four horses in a boat"
    entered = asked("/login", "--data", form, "--header", f"Origin: https://{NAME}")
    assert status(entered) == 303, entered
    assert "__Host-speedtest_session=" in entered[1]


def test_another_certificate_comes_in_time(front, address, asked):
    acme.another(BROWSER, NAME, address)
    wait_until("it is trusted", lambda: status(asked()) == 200, 30, every=0.5)


def test_its_service_is_sandboxed(front):
    found, said = exposure(HOST, acme.UNIT)
    print(f"{acme.UNIT}: {found}")
    assert found <= MOST_EXPOSED, said
