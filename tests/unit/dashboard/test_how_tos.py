"""What the dashboard's how-to pages show is so: commands, lines for the inventory, addresses, messages."""

from __future__ import annotations

import json
import re

import pytest
import yaml
from builders import ROOT
from sample import SampleFigures

from speedtest_logger.dashboard import keys
from speedtest_logger.dashboard.app import create_app
from speedtest_logger.dashboard.cli import main
from speedtest_logger.dashboard.guard import routes_of
from speedtest_logger.inventory import roles

PACKAGE = ROOT / "src/speedtest_logger"


def page(name):
    return (ROOT / f"docs/how-to/{name}.md").read_text(encoding="utf-8")


def typed(name):
    """The commands of ours that a page has as code."""
    lines = [line.strip() for line in page(name).splitlines() if line.startswith("    ")]
    return [line.partition("  #")[0].removeprefix("sudo ") for line in lines if "speedtest-dashboard " in line]


def first_column(name):
    return [cell for line in page(name).splitlines() if line.startswith("| `") for cell in [line.split(" | ")[0]]]


@pytest.mark.parametrize(("name", "variable"), [("share-a-line", "shares"), ("give-programs-a-key", "keys")])
def test_what_a_command_prints_goes_into_the_inventory_as_shown(name, variable, capsys):
    [command] = typed(name)
    assert main(command.split()[1:]) == 0
    printed = capsys.readouterr()
    [shown] = re.findall(r"```yaml\n(.*?)```", page(name), re.DOTALL)
    [example] = yaml.safe_load(shown)[f"speedtest_dashboard_{variable}"]
    [made] = yaml.safe_load(printed.err.partition("secret:\n")[2])[f"speedtest_dashboard_{variable}"]
    assert list(made) == list(example)
    assert {key: value for key, value in made.items() if key not in ("sha256", "id")} == {
        key: value for key, value in example.items() if key not in ("sha256", "id")
    }
    assert roles.known()[f"speedtest_dashboard_{variable}"].domain.problem([example]) is None
    assert made["sha256"] == keys.sha256(printed.out.strip().removeprefix("/share/"))


def test_a_link_shows_what_the_page_says_and_a_wall_has_its_own(guarded, client, write, capsys):
    [command] = typed("share-a-line")
    main(command.split()[1:])
    printed = capsys.readouterr()
    link = printed.out.strip()
    entries = yaml.safe_load(printed.err.partition("secret:\n")[2])["speedtest_dashboard_shares"]
    app = create_app(guarded(SPEEDTEST_DASHBOARD_SHARES_FILE=write("shares.json", entries)))
    app.state.figures = SampleFigures()
    browser = client(app)
    for address in re.findall(r"`(/[^` ]*)`", "\n".join(first_column("share-a-line"))):
        status = 200 if address.startswith("/share") else 401
        assert browser.get(address.replace("/share/TOKEN", link)).status_code == status, address
    assert "/kiosk" in {route.path for route in routes_of(app)}


def test_the_table_of_scopes_has_each_of_them():
    assert first_column("give-programs-a-key") == [f"| `{scope}`" for scope in keys.SCOPES]


def test_a_key_that_was_taken_out_is_answered_as_the_page_says(guarded, client, entry_of):
    first, second = entry_of("read"), entry_of("read")
    for known, statuses in (([first], (200, 401)), ([first, second], (200, 200)), ([second], (401, 200))):
        app = create_app(guarded(*known))
        app.state.figures.etag = lambda: "x"
        for entry, status in zip((first, second), statuses, strict=True):
            answer = client(app, Authorization=f"Bearer {entry['key']}").get("/api/v1/nodes")
            assert answer.status_code == status
        app.state.figures.source.rollups.close()


def test_messages_that_the_page_explains_are_said():
    code = [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.j2")]
    said = re.sub(r'"\s+f?"', "", "\n".join(file.read_text(encoding="utf-8") for file in code))
    messages = [cell[3:-1] for cell in first_column("repair-the-dashboard")]
    assert len(messages) > 10
    assert [text for text in messages if text not in said] == []


def test_commands_that_the_page_has_are_there(capsys):
    for command in typed("repair-the-dashboard"):
        if command.startswith("speedtest-dashboard"):
            with pytest.raises(SystemExit) as ended:
                main([command.split()[1], "--help"])
            assert ended.value.code == 0
    assert json.dumps({"status": "healthy"})[1:-1] in page("repair-the-dashboard")
