"""Grafana's dashboards are what their generator writes, and whole: what they name is there, and once."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from builders import ROOT, load
from grafana_foundation_sdk.models import units

FOLDER = ROOT / "dashboards"
FILES = sorted(FOLDER.glob("*.json"))
KNOWN_UNITS = {value for name, value in vars(units).items() if not name.startswith("_") and isinstance(value, str)}
PROVISIONING = ROOT / "roles/speedtest_monitoring/templates/etc/grafana/provisioning"


def boards():
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in FILES}


def test_dashboards_are_fresh():
    made = load("dashboards/generate.py").files()
    assert sorted(made) == FILES
    for file, text in made.items():
        assert file.read_text(encoding="utf-8") == text, f"run: python dashboards/generate.py ({file.name})"


def test_each_dashboard_has_an_address_of_its_own():
    assert {name: board["uid"] for name, board in boards().items()} == {
        name: f"speedtest-{name}" for name in ("fleet", "line", "system")
    }


@pytest.mark.parametrize("name", ["fleet", "line", "system"])
def test_a_dashboard_is_whole(name):
    board = boards()[name]
    panels, variables = board["panels"], {variable["name"] for variable in board["templating"]["list"]}
    assert len({panel["id"] for panel in panels}) == len(panels) > 5
    assert "null" not in json.dumps(board)
    for panel in panels:
        assert panel["fieldConfig"]["defaults"]["unit"] in KNOWN_UNITS
        assert panel["targets"]
        for target in [panel, *panel["targets"]]:
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(panel)))
        assert used <= variables
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


@pytest.mark.parametrize("name", ["fleet", "line", "system"])
def test_no_panel_lies_on_another(name):
    taken = set()
    for place in (panel["gridPos"] for panel in boards()[name]["panels"]):
        assert place["x"] + place["w"] <= 24
        across, down = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        cells = {(x, y) for x in across for y in down}
        assert not cells & taken
        taken |= cells


def test_speeds_are_shown_in_bits():
    """What is in bytes per second is multiplied, and only that is."""
    for panel in [panel for board in boards().values() for panel in board["panels"]]:
        for target in panel["targets"]:
            speed = "bytes_per_second" in target["expr"] and "/" not in target["expr"]
            assert target["expr"].endswith("* 8") is speed, target["expr"]
            assert (panel["fieldConfig"]["defaults"]["unit"] == "bps") is speed


def test_what_is_provisioned_is_in_grafana_s_form():
    values = {"grafana_prometheus_url": "http://127.0.0.1:9090", "scrape_seconds": "30", "config_dir": "/etc/x"}

    def provisioned(kind):
        text = (PROVISIONING / kind / "speedtest.yaml.j2").read_text(encoding="utf-8")
        named = re.compile(r"\{\{ (?:speedtest_monitoring_)?(\w+) \}\}")
        return yaml.safe_load(named.sub(lambda found: values[found[1]], text))

    (source,) = provisioned("datasources")["datasources"]
    assert {"name", "uid", "type", "access", "url"} <= set(source)
    assert source["jsonData"]["timeInterval"] == "30s"
    (provider,) = provisioned("dashboards")["providers"]
    assert provider["options"] == {"path": "/etc/x/dashboards"}
