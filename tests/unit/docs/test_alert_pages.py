"""What the pages about alerts tell people to type is understood by what reads it."""

from __future__ import annotations

import re
import shlex

import apprise
import pytest
import yaml
from builders import ROOT

from speedtest_logger.alerts import cli, destinations, post, rules

PAGES = {name: (ROOT / f"docs/how-to/{name}.md").read_text(encoding="utf-8") for name in ("be-told", "tune-alerts")}
REFERENCE = (ROOT / "docs/reference/alerts.md").read_text(encoding="utf-8")


def variables(name):
    """Each variable that a page sets, with its value."""
    blocks = re.findall(r"```yaml\n(.*?)```", PAGES[name], re.DOTALL)
    return [pair for block in blocks for pair in yaml.safe_load(block).items()]


def of_the_vault():
    return {key: value for key, value in variables("be-told") if key.startswith("vault_")}


@pytest.mark.parametrize("name", PAGES)
def test_every_destination_is_one_with_its_address_from_the_vault(name):
    entries = [entry for key, value in variables(name) if key.endswith("_destinations") for entry in value]
    assert entries
    for entry in entries:
        [secret] = re.findall(r"^\{\{ (\w+) \}\}$", entry["url"])
        assert destinations.read({**entry, "url": of_the_vault()[secret]}).name == entry["name"]


@pytest.mark.parametrize("name", [name for name, _ in variables("be-told") if name.startswith("vault_")])
def test_apprise_understands_every_address(name):
    url = of_the_vault()[name]
    made = {"phone": "Ntfy", "mail": "Email", "telegram": "Telegram", "home": "HomeAssistant"}
    service = apprise.Apprise.instantiate(post.with_name(url, "1f0c22ab-began-phone-1"))
    assert type(service).__name__ == f"Notify{made[name.removeprefix('vault_alerts_')]}"


def test_every_rule_is_one():
    changes = [value for key, value in variables("tune-alerts") if not key.endswith("_destinations")]
    assert len(changes) == 3
    assert [rules.problems(change) for change in changes] == [[], [], []]


@pytest.mark.parametrize("name", PAGES)
def test_every_command_is_one(name):
    commands = re.findall(r"^    (?:ssh nas )?sudo speedtest-alerts ([^#\n]+)", PAGES[name], re.MULTILINE)
    commands += re.findall(r"`(?:ssh nas )?(?:sudo )?speedtest-alerts ([^`]+)`", PAGES[name])
    assert len(commands) >= 2
    for command in commands:
        args = cli.parser().parse_args(shlex.split(command))
        assert (
            rules.problems({each.partition("=")[0].partition(".")[0]: True for each in getattr(args, "set", [])}) == []
        )


def test_the_table_of_what_a_destination_wants_has_its_defaults():
    given = destinations.Destination("a", "b")
    shown = dict(re.findall(r"^\| `(severity|passes|digest|reminder_hours)` \| `?(\w+)`? ", PAGES["tune-alerts"], re.M))
    assert shown == {name: str(getattr(given, name)) for name in shown}
    assert len(shown) == 4


def test_the_reference_has_every_rule_with_all_that_can_be_set():
    for rule in rules.ALL:
        part = REFERENCE.partition(f"\n## {rule.name}\n")[2].partition("\n## ")[0]
        for words in (rule.fires, rule.ends, rule.seen, "**Held back:** "):
            assert words in part
        assert re.findall(r"^\| `(\w+)` \|", part, re.M) == list(rule.parameters)
