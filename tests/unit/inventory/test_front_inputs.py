"""What preflight refuses of the front: one that could not work, or would show everything."""

from __future__ import annotations

import subprocess

import pytest
from everything import ADA, GROUPS, A, D, L, T, problems

F = "speedtest_front_"
EVERYTHING = {**GROUPS, "speedtest_front": ["h"], "speedtest_dashboard": ["h"]}
FRONT = {F + "name": "speed.example.org", D + "users": [ADA]}


@pytest.fixture(scope="module")
def pems(tmp_path_factory):
    """A certificate, its key, and another one's."""
    folder = tmp_path_factory.mktemp("pems")
    for name in ("own", "other"):
        made = ["-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem", "-subj", "/CN=speed.example.org"]
        argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *made]
        subprocess.run(argv, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize(
    "values",
    [
        {},
        {F + "tls": "acme", F + "acme_email": "ops@example.org"},
        {F + "tls": "acme", F + "name": "nas.home.arpa", F + "acme_directory": "https://ca.home.arpa/acme/directory"},
        {F + "name": "nas", F + "hsts_seconds": 0, F + "https_port": 8443, F + "http_port": 8080},
        {F + "state": "absent", F + "name": "", D + "users": []},
        {D + "workbench_enabled": True},
        {D + "workbench_enabled": False, D + "workbench_port": 8000, D + "runtime": "compose"},
        {D + "workbench_enabled": True, **{role + "state": "absent" for role in (D, F, A)}},
    ],
)
def test_a_front_with_a_name_and_users_is_well(values):
    assert problems(EVERYTHING, **{**FRONT, **values}) == []


@pytest.mark.parametrize(
    ("values", "variable", "words"),
    [
        ({D + "workbench_enabled": True, D + "runtime": "compose"}, D + "workbench_enabled", "has no workbench"),
        ({D + "workbench_enabled": True, F + "state": "absent"}, D + "workbench_enabled", "no login of its own"),
        ({D + "workbench_enabled": True, D + "port": 8501}, D + "workbench_port", D + "port has it too"),
        ({D + "workbench_enabled": True, T + "librespeed_port": 8501}, D + "workbench_port", "port has it too"),
        ({D + "workbench_enabled": True, F + "https_port": 8501}, F + "https_port", D + "workbench_port has it too"),
        ({D + "workbench_enabled": "yes"}, D + "workbench_enabled", "true or false"),
        ({F + "name": ""}, F + "name", "browsers reach the dashboard under it"),
        ({F + "name": "192.0.2.1"}, F + "name", "a host's name in lower case"),
        ({F + "name": "Speed.example.org"}, F + "name", "a host's name in lower case"),
        ({F + "name": 'x"{'}, F + "name", "a host's name in lower case"),
        ({D + "users": []}, D + "users", "whoever reaches the front would see everything"),
        ({D + "bind": "192.0.2.1"}, D + "bind", "reached beside its front, without TLS"),
        ({D + "state": "absent"}, F + "state", "it leads there: set absent here too"),
        ({F + "tls": "none"}, F + "tls", "one of internal, acme, files"),
        ({F + "tls": "acme", F + "name": "nas.local"}, F + "name", "for public names only"),
        ({F + "tls": "acme", F + "name": "nas"}, F + "name", "for public names only"),
        ({F + "tls": "acme", F + "acme_ca_file": "/nowhere/ca.pem"}, F + "acme_ca_file", "no such file"),
        ({F + "tls": "acme", F + "acme_directory": "http://x/"}, F + "acme_directory", "a URL such as https://"),
        ({F + "tls": "files", F + "key_file": "/dev/null"}, F + "certificate_file", "name a PEM file"),
        ({F + "https_port": 80}, F + "https_port", "give each a port of its own"),
        ({F + "https_port": 8000}, F + "https_port", D + "port has it too"),
        ({F + "http_port": 8989}, F + "http_port", T + "librespeed_port has it too"),
        ({T + "stock_nginx_enabled": True}, T + "stock_nginx_enabled", "which the front needs"),
        ({L + "user": "speedtest-front"}, L + "user", "the front has an account of this name"),
    ],
)
def test_a_front_that_could_not_work_or_would_show_everything_is_refused(values, variable, words):
    found = problems(EVERYTHING, **{**FRONT, **values})
    assert [line for line in found if line.startswith(f"{variable}: ") and words in line], found


def test_a_certificate_is_one_of_its_key(pems):
    own = {F + "tls": "files", F + "certificate_file": str(pems / "own.pem"), F + "key_file": str(pems / "own.key")}
    assert problems(EVERYTHING, **FRONT, **own) == []
    for change in ({F + "key_file": str(pems / "other.key")}, {F + "certificate_file": __file__}):
        (line,) = problems(EVERYTHING, **FRONT, **{**own, **change})
        assert line.startswith(F + "certificate_file: ")
        assert "name two that fit" in line


def test_a_front_is_where_the_dashboard_is():
    (line,) = problems({**GROUPS, "speedtest_front": ["h"], "speedtest_dashboard": []}, **FRONT)
    assert line == (
        "group speedtest_front: seen h; the front leads to the dashboard on its own host: put it into group "
        "speedtest_dashboard too"
    )
    (line,) = problems({**GROUPS, "speedtest_front": [], "speedtest_dashboard": ["h"]}, **FRONT)
    assert line.startswith("speedtest_front_name: seen 'speed.example.org' on h; this host is not in group")
