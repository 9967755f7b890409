"""The front: its name, its certificate, its ports."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from pathlib import Path

from speedtest_logger import domains
from speedtest_logger.inventory.found import Problem, View
from speedtest_logger.inventory.relations.common import DASHBOARD, FRONT, as_list, problem
from speedtest_logger.inventory.relations.dashboard import dashboard_ports
from speedtest_logger.inventory.tables.front import LETS_ENCRYPT

# Ends of names that no public name server knows (RFC 6761, 6762, 8375, and what routers have).
NOT_PUBLIC = (".local", ".localhost", ".home.arpa", ".internal", ".lan", ".home", ".test", ".example", ".invalid")


def front(view: View) -> Iterator[Problem]:
    """What is before the dashboard has a name, and a dashboard of which only those who log in see anything."""
    if view[FRONT + "state"] == "absent":
        return
    if view[DASHBOARD + "state"] == "absent":
        words = f"{DASHBOARD}state is absent, and it leads there: set absent here too"
        yield problem(view, FRONT + "state", words)
    if not view[FRONT + "name"]:
        words = "browsers reach the dashboard under it: set the host's name, such as speed.example.org"
        yield problem(view, FRONT + "name", words)
    if not view[DASHBOARD + "users"]:
        words = "whoever reaches the front would see everything: name users, or leave the host out of speedtest_front"
        yield problem(view, DASHBOARD + "users", words)
    if not domains.is_loopback(view.text(DASHBOARD + "bind")):
        words = "the dashboard would be reached beside its front, without TLS: leave it at 127.0.0.1"
        yield problem(view, DASHBOARD + "bind", words)


def front_certificate(view: View) -> Iterator[Problem]:
    """What the front's certificate is made from is there, and can be one of this name."""
    if view[FRONT + "state"] == "absent":
        return
    kind, directory = view[FRONT + "tls"], view.text(FRONT + "acme_directory")
    if kind == "acme" and directory == LETS_ENCRYPT and not is_public(view.text(FRONT + "name")):
        words = (
            "Let's Encrypt gives certificates for public names only: take one that the Internet's name servers know, "
            f"set {FRONT}acme_directory to a server of your own, or {FRONT}tls to internal"
        )
        yield problem(view, FRONT + "name", words)
    ca = FRONT + "acme_ca_file"
    if kind == "acme" and view[ca] and not readable(view.text(ca)):
        yield problem(view, ca, "there is no such file on the control machine, or it cannot be read")
    if kind == "files":
        yield from front_files(view)


def front_files(view: View) -> Iterator[Problem]:
    """Certificate and key are there, and belong together."""
    names = (FRONT + "certificate_file", FRONT + "key_file")
    missing = [name for name in names if not view[name] or not readable(view.text(name))]
    for name in missing:
        words = f"{FRONT}tls is files: name a PEM file on the control machine that can be read"
        yield problem(view, name, words)
    if missing:
        return
    certificate, key = (view.text(name) for name in names)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", None) or error
        words = f"it is no PEM certificate to the key {key}, which must have no passphrase ({why}): name two that fit"
        yield problem(view, FRONT + "certificate_file", words)


def front_ports(view: View) -> Iterator[Problem]:
    """Nobody else on the host has the front's ports."""
    http, https = FRONT + "http_port", FRONT + "https_port"
    if view[FRONT + "state"] == "absent":
        return
    if view[http] == view[https]:
        yield problem(view, https, f"{http} is the same: give each a port of its own")
    others = dashboard_ports(view)
    if "speedtest_target" in view.roles:
        others += ["speedtest_target_librespeed_port", "speedtest_target_iperf3_ports"]
        if view["speedtest_target_stock_nginx_enabled"] and 80 in (view[http], view[https]):
            words = "Debian's own nginx would keep port 80, which the front needs: set false, or another port"
            yield problem(view, "speedtest_target_stock_nginx_enabled", words)
    for port in (http, https):
        for other in others:
            if other not in view.bad and view[port] in (view[other], *as_list(view[other])):
                yield problem(view, port, f"{other} has it too: give each server a port of its own")


def front_named(view: View) -> Iterator[Problem]:
    """A front's name says that there is one."""
    if "speedtest_front" not in view.roles and view.values.get(FRONT + "name"):
        words = "this host is not in group speedtest_front, so that nothing is there: put it into it, or leave this out"
        yield problem(view, FRONT + "name", words)


def is_public(name: str) -> bool:
    """Whether a name may be one that the Internet's name servers know."""
    return "." in name and not name.endswith(NOT_PUBLIC)


def readable(path: str) -> bool:
    """Whether a file of the control machine can be read."""
    return Path(path).is_file() and os.access(path, os.R_OK)
