"""What site.yml knows of the whole fleet: its nodes, and the files of the archive host."""

from __future__ import annotations

import json

from builders import load

fleet = load("plugins/filter/fleet.py")
NOW, LATER = "2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z"
COMMAND = "/opt/receive --root /srv/a"
FILES = {
    "archive": "arc",
    "host_key": "/etc/ssh/key.pub",
    "authorized": "/home/.ssh/authorized_keys",
    "tokens": "/home/tokens",
    "invitations": "/home/invitations",
    "enrolled": "/srv/a/state/enrolled",
    "root": "/front/caddy/pki/root.crt",
    "folder": "/srv/a/fleet",
    "schedule": "/srv/a/fleet/schedule.json",
    "earlier": ["/srv/a/state/schedule.json", "/srv/a/state/restored-schedule.json"],
}


def key(letter: str) -> str:
    return "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + letter * 43


def file(content: str, **changes):
    return {"kind": "file", "owner": "root", "group": "service", "mode": "0640", "text": content, **changes}


def read(**files):
    """What the archive host answers: a host key, root's folder, and these files by their name in FILES."""
    seen = {FILES["host_key"]: file("ssh-ed25519 HOST\n"), FILES["folder"]: {"kind": "directory", "owner": "root"}}
    places = {**FILES, "state": FILES["earlier"][0], "restored": FILES["earlier"][1]}
    return {"files": seen | {places[name]: content for name, content in files.items()}}


def node(name: str, **changes):
    values = {
        "node_name": name,
        "transport": "ssh",
        "state": "present",
        "interval": "10min",
        "measure_timeout_seconds": 60,
        "start_tolerance_seconds": 10,
        "uplink": "line",
        "location": "home",
        "archive_raw": False,
        "timezone": "UTC",
        "alerts": {},
        "data_budget_gb": 0.0,
        "plan_download_mbps": 0,
        "plan_upload_mbps": 0,
    }
    return {**values, **changes}


def entry(start: str = NOW, end: str | None = None, **changes):
    return {"valid_from": start, "valid_to": end, "interval_seconds": 600, "offset_seconds": 60, **changes}


def registry(**nodes) -> str:
    return json.dumps({"nodes": nodes})
