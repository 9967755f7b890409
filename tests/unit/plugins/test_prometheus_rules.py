"""Prometheus' own judgement of the rules: each alert fires for its reason and ends with it, and the test can fail."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
import yaml
from builders import ROOT
from tries import some

RULES = ROOT / "roles/speedtest_monitoring/files/rules.yml"
CASES = ROOT / "tests/fixtures/prometheus/rules.test.yml"
GROUPS = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
ALERTS = [rule["alert"] for group in GROUPS for rule in group["rules"] if "alert" in rule]
RECORDS = [rule["record"] for group in GROUPS for rule in group["rules"] if "record" in rule]
TESTS = yaml.safe_load(CASES.read_text(encoding="utf-8"))["tests"]
ALWAYS = {"Watchdog"}


def promtool(folder, groups, tests):
    """`promtool test rules` with some rules and some cases."""
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": groups}))
    cases = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": tests}
    (folder / "cases.yml").write_text(yaml.safe_dump(cases))
    return subprocess.run(
        ["promtool", "test", "rules", "cases.yml"], cwd=folder, capture_output=True, text=True, check=False
    )


def test_each_alert_fires_and_ends_and_each_figure_has_its_value(tmp_path):
    done = promtool(tmp_path, GROUPS, TESTS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_seen_both_ways():
    cases = [case for test in TESTS for case in test.get("alert_rule_test", [])]
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == set(ALERTS)
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == set(ALERTS) - ALWAYS
    asked = [case["expr"] for test in TESTS for case in test.get("promql_expr_test", [])]
    assert set(asked) == set(RECORDS)


@pytest.mark.sampled
@pytest.mark.parametrize("expression", ["vector(1) > 1", "vector(1)"], ids=["never fires", "always fires"])
def test_a_rule_that_is_wrong_is_noticed(tmp_path, expression):
    for alert in some(ALERTS, 3):
        if (alert, expression) == ("Watchdog", "vector(1)"):
            continue
        broken = [
            {**group, "rules": [{**r, "expr": expression} if r.get("alert") == alert else r for r in group["rules"]]}
            for group in GROUPS
        ]
        of_it = [t for t in TESTS if any(c["alertname"] == alert for c in t.get("alert_rule_test", []))]
        done = promtool(tmp_path, broken, of_it)
        assert done.returncode != 0, alert
        assert alert in done.stdout + done.stderr


def test_every_alert_says_what_it_is_what_to_do_and_how_grave():
    for rule in [rule for group in GROUPS for rule in group["rules"] if "alert" in rule]:
        assert rule["annotations"]["summary"]
        if rule["alert"] not in ALWAYS:
            assert rule["annotations"]["description"]
        if rule["alert"] != "SpeedtestFinding":  # as grave as the archive says
            assert rule["labels"]["severity"] in ("warning", "critical", "none")


def test_people_read_of_every_rule_when_it_fires_and_how_to_see_that_it_works():
    page = (ROOT / "docs/explanation/prometheus-rules.md").read_text(encoding="utf-8")
    what, how = page.split("## See that each works")
    for alert in ALERTS:
        assert f"| `{alert}` |" in what
        assert f"| `{alert}` |" in how
    assert [name for name in RECORDS if f"`{name}`" not in page] == []
    graves = {
        rule["alert"]: rule.get("labels", {}).get("severity")
        for group in GROUPS
        for rule in group["rules"]
        if "alert" in rule
    }
    assert [name for name, grave in graves.items() if grave and f"| `{name}` | {grave} |" not in what] == []


def test_rules_and_dashboards_name_only_metrics_that_there_are():
    catalogue = pytest.importorskip("speedtest_logger.metrics").BY_NAME
    asked = [rule["expr"] for group in GROUPS for rule in group["rules"]]
    for file in (ROOT / "dashboards").glob("*.json"):
        panels = json.loads(file.read_text(encoding="utf-8"))["panels"]
        asked += [target["expr"] for panel in panels for target in panel["targets"]]
    named = {name for each in asked for name in re.findall(r"\b(?:speedtest|http)_[a-z_]+", each)}
    assert len(named) > 25
    known = {f"{name}{end}" for name in catalogue for end in ("", "_bucket", "_count", "_sum")}
    assert named - known == set()
