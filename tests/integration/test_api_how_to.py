"""What docs/how-to/ask-the-api.md shows runs as it is typed, against a real server."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import time

import jinja2
import pytest
import uvicorn
import yaml
from builders import ROOT, fresh, put, slot
from starlette.testclient import TestClient

from speedtest_logger.dashboard import settings
from speedtest_logger.dashboard.app import create_app, openapi
from speedtest_logger.dashboard.cli import main

PAGE = (ROOT / "docs/how-to/ask-the-api.md").read_text(encoding="utf-8")
STEP = 600
PLACE = "http://127.0.0.1:8000"
# options of Home Assistant's integration `rest`, as its documentation names them
RESOURCE = {"resource", "scan_interval", "headers", "sensor"}
SENSOR = {
    "name", "unique_id", "device_class", "state_class", "unit_of_measurement", "availability", "value_template",
}  # fmt: skip


def shown(language):
    found = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    layout = fresh(tmp_path_factory)
    now = int(time.time()) // STEP * STEP
    put(layout, *(slot("attic", now - STEP * n, "home", download_bps=1e8, latency_ms=9.5) for n in range(1, 1_200)))
    own = tmp_path_factory.mktemp("own")
    made = create_app(settings.load({"SPEEDTEST_ARCHIVE_DIR": str(layout.root), "SPEEDTEST_DASHBOARD_DIR": str(own)}))
    yield made
    made.state.figures.source.rollups.close()


@pytest.fixture(scope="module")
def place(app):
    """The server's address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(60)


def test_curl_prints_answers(place, tmp_path):
    [text] = shown("bash")
    script = "set -e\n" + text.replace(PLACE, place).replace("/tmp/", f"{tmp_path}/")
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert '"location":"home"' in done.stdout
    assert '"outages":[' in done.stdout
    assert '"text":"a new router"' in done.stdout
    lines = (tmp_path / "attic.csv").read_text().splitlines()
    assert lines[0].startswith("schema_version,run_id,node")
    assert len(lines) == 501
    last = re.findall(r"`curl (\S+) http://127.0.0.1:8000(/\S+)` prints one line that begins with `(\S+)`", PAGE)[0]
    done = subprocess.run(["curl", last[0], place + last[1]], capture_output=True, text=True, check=True, timeout=300)
    assert done.stdout.startswith(last[2])


def test_programs_read_records(place, capsys):
    for program in shown("python"):
        exec(program.replace(PLACE, place), {})  # noqa: S102  our own page
    printed = capsys.readouterr().out
    assert re.search(r"^1199 records, the last of 20", printed, re.MULTILINE), printed
    assert re.search(r"^attic +100.0$", printed, re.MULTILINE), printed


def test_sensors_show_the_last_test(app):
    class Secrets(yaml.SafeLoader):
        """Home Assistant's own word for a text that lies elsewhere."""

    Secrets.add_constructor("!secret", lambda loader, node: f"<{loader.construct_scalar(node)}>")
    [text] = shown("yaml")
    [resource] = yaml.load(text, Secrets)["rest"]  # noqa: S506  a safe loader with one word more
    assert resource["resource"].removeprefix(PLACE) == "/api/v1/locations/home"
    answer = TestClient(app, base_url=PLACE).get(resource["resource"].removeprefix(PLACE)).json()
    said = {
        sensor["name"]: jinja2.Template(sensor["value_template"]).render(value_json=answer)
        for sensor in resource["sensor"]
    }
    assert said == {"Download": "100.0", "Latency": "9.5", "Line": "well"}
    failed = {**answer, "last": {**answer["last"], "download": None, "latency": None}}
    nothing = {**answer, "last": None}
    wrong_key = {"detail": "no such key"}
    for known, *there in (
        (answer, True, True, True),
        (failed, False, False, True),
        (nothing, False, False, True),
        (wrong_key, False, False, False),
    ):
        for sensor, is_there in zip(resource["sensor"], there, strict=True):
            rendered = jinja2.Template(sensor["availability"]).render(value_json=known)
            assert rendered == str(is_there)  # for Home Assistant only False is unavailable, and not None or nothing
    for known in (answer, failed, nothing):
        for sensor in resource["sensor"][:2]:
            float(jinja2.Template(sensor["value_template"]).render(value_json=known))  # a text would be an error
    assert {key for sensor in resource["sensor"] for key in sensor} <= SENSOR
    assert set(resource) <= RESOURCE


def test_the_page_names_questions_that_there_are(app):
    paths = openapi(app)["paths"]
    named = {path.partition("?")[0] for path in re.findall(r"`(/api/[^`]+)`", PAGE)} - {"/api/openapi.json", "/api/v1"}
    stands_for = {"RUN": "{run_id}", "ID": "{identity}", "attic": "{node}", "home": "{location}"}
    asked = {"/".join(stands_for.get(part, part) for part in path.split("/")) for path in named}
    assert asked == {path for path in paths if path.startswith("/api/")}


def test_the_command_that_makes_a_key_runs(capsys):
    [command] = [line.strip() for line in PAGE.splitlines() if line.startswith("    speedtest-dashboard ")]
    assert main(command.split()[1:]) == 0
    assert "stk_" in capsys.readouterr().out
