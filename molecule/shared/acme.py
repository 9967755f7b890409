"""pebble, the ACME server with which Let's Encrypt tests, on a lab machine."""

from __future__ import annotations

import json
import time
from pathlib import Path

from fleet import attempt, on, quoted, wait_until

PLACE = "/var/tmp/pebble"
CADDYFILE, UNIT = "/etc/speedtest-front/Caddyfile", "speedtest-front.service"
CONFIG = {
    "listenAddress": "0.0.0.0:14000",
    "managementListenAddress": "127.0.0.1:15000",
    "certificate": f"{PLACE}/own.pem",
    "privateKey": f"{PLACE}/own.key",
    "httpPort": 80,
    "tlsPort": 1,
    "ocspResponderURL": "",
    "externalAccountBindingRequired": False,
    "certificateValidityPeriod": 45,  # seconds; Caddy renews after two thirds
}


def start(node: str, name: str, address: str, folder: Path) -> dict[str, str]:
    """Start it on a node, from which a name leads to an address. Returns where what it is trusted by lies here.

    own.pem and own.key are its own certificate, which is for that name too; root.pem is what it signs with.
    """
    names = "-addext subjectAltName=" + ",".join(f"DNS:{each}" for each in ("localhost", node, name))
    new = f"openssl req -x509 -newkey rsa:2048 -nodes -keyout own.key -out own.pem -subj /CN=pebble {names}"
    on(node, f"apt-get -qq -y install pebble >/dev/null && mkdir {PLACE} && cd {PLACE} && {new} 2>/dev/null")
    on(node, f"echo {quoted(json.dumps({'pebble': CONFIG}))} >{PLACE}/config.json")
    on(node, f"echo '{address} {name}' >>/etc/hosts")
    on(node, f"systemd-run --quiet --unit pebble --setenv=PEBBLE_VA_NOSLEEP=1 pebble -config {PLACE}/config.json")
    root = f"curl --silent --cacert {PLACE}/own.pem https://localhost:15000/roots/0"
    wait_until("pebble answers", lambda: attempt(node, f"{root} | grep BEGIN").returncode == 0, 20, every=0.5)
    on(node, f"{root} >{PLACE}/root.pem")
    places = {}
    for file in ("own.pem", "own.key", "root.pem"):
        (folder / file).write_text(on(node, f"cat {PLACE}/{file}"), encoding="utf-8")
        places[file] = str(folder / file)
    return places


def renew_at_once(node: str) -> None:
    """Have a front look each second whether its certificate is to be renewed: Caddy does each ten minutes."""
    on(node, f"sed -i 's/admin off/admin off\\n\\trenew_interval 1s/' {CADDYFILE} && systemctl restart {UNIT}")


def serial(node: str, name: str, address: str = "127.0.0.1") -> str:
    """The number of the certificate that browsers on a node are shown; empty where they are shown none."""
    shown = f"openssl s_client -connect {address}:443 -servername {name} </dev/null 2>/dev/null"
    return attempt(node, f"{shown} | openssl x509 -noout -serial 2>/dev/null").stdout.strip()


def another(node: str, name: str, address: str = "127.0.0.1") -> None:
    """Wait until another certificate is shown than now."""
    first, began = serial(node, name, address), time.monotonic()
    assert first
    wait_until("it is renewed", lambda: serial(node, name, address) not in ("", first), 30, every=0.5)
    print(f"renewed after {time.monotonic() - began:.1f} s")


def validated(node: str, name: str) -> bool:
    """Whether pebble has asked the name itself."""
    said = on(node, "journalctl --unit pebble --output cat --no-pager")
    return f"Attempting to validate w/ HTTP: http://{name}:80/.well-known/acme-challenge/" in said
