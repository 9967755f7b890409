"""What the front wants on its host."""

from __future__ import annotations

import pytest
from desired_states import NAME, files_of, wanted

CADDYFILE, KEY = "/etc/speedtest-front/Caddyfile", "/etc/speedtest-front/key.pem"


def test_a_front_has_the_files_that_its_kind_of_certificate_needs(here):
    internal, acme, files = (files_of("speedtest_front", here, tls=kind) for kind in ("internal", "acme", "files"))
    folder = "/etc/speedtest-front/"
    named = {path.removeprefix(folder) for path in (*internal, *acme, *files) if path.endswith(".pem")}
    assert named == {"acme-ca.pem", "certificate.pem", "key.pem"}
    assert not [path for path in internal if path.endswith(".pem")]
    assert acme[f"{folder}acme-ca.pem"]["content"] == "ca\n"
    assert files[f"{folder}certificate.pem"]["content"] == "certificate\n"
    assert [files[KEY][part] for part in ("content", "group", "mode", "secret")] == [
        *("key\n", "speedtest-front", "0640", True)
    ]
    gone = wanted("speedtest_front", here, tls="internal").desired["absent_paths"]
    assert {folder + name for name in named} <= set(gone)


def test_a_front_s_files_are_not_read_where_it_goes(here):
    nowhere = {"certificate_file": "/nowhere/x.pem", "key_file": "/nowhere/x.key"}
    assert "files" not in wanted("speedtest_front", here, tls="files", state="absent", **nowhere).desired


@pytest.mark.parametrize("kind", ["internal", "acme", "files"])
def test_a_front_s_configuration_is_checked_and_says_what_it_must(here, kind):
    item = files_of("speedtest_front", here, tls=kind, dashboard_bind="::1")[CADDYFILE]
    assert "caddy validate" in item["validate"]
    assert item["validate"].count("%s") == 1
    assert item["restarts"] == ["speedtest-front.service"]
    lines = [line.strip() for line in item["content"].splitlines()]
    said = ("admin off", "strict_sni_host on", "protocols tls1.2", "reverse_proxy [::1]:8000", f"{NAME}:443 {{")
    assert [line for line in said if line not in lines] == []
    assert "header Strict-Transport-Security max-age=31536000" in lines
    assert "https://speed.example.org{uri} 308" in item["content"]


def test_a_front_on_another_port_sends_browsers_there(here):
    content = files_of("speedtest_front", here, https_port=8443, hsts_seconds=0)[CADDYFILE]["content"]
    assert f"redir https://{NAME}:8443{{uri}} 308" in content
    assert "Strict-Transport-Security" not in content


def test_debian_s_own_service_makes_room_for_the_front_and_stays_as_it_is_found_later(here):
    (stock, own) = wanted("speedtest_front", here).desired["units"]
    assert (stock["name"], stock["active"], stock["enabled"]) == ("caddy.service", False, False)
    assert own == {"name": "speedtest-front.service"}
    assert "caddy.service" not in wanted("speedtest_front", here, state="absent").desired["absent_units"]
