"""The API is what its description says, whatever it is asked: no answer that is not described, and none of 500."""

from __future__ import annotations

import base64
import json
import time
from urllib.parse import quote

import pytest
import schemathesis
from builders import fresh, put, slot
from dashboards import HOME
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as of_hypothesis
from schemathesis import GenerationMode, checks
from schemathesis.specs.openapi import checks as of_openapi
from starlette.testclient import TestClient
from tries import some, tries

from speedtest_logger.archive.read.dataset import Archive
from speedtest_logger.dashboard import settings
from speedtest_logger.dashboard.app import create_app
from speedtest_logger.record import utc_text

STEP, DAY = 600, 86_400
EXAMPLES = {GenerationMode.POSITIVE: tries(8), GenerationMode.NEGATIVE: tries(4)}  # of each question
KEPT = (
    checks.not_a_server_error,
    of_openapi.status_code_conformance,
    of_openapi.content_type_conformance,
    of_openapi.response_schema_conformance,
)
NASTY = (
    "../../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e%2f", "home/../farm", "home' OR '1'='1",
    "home'; DROP TABLE slot; --", '"; COPY slot TO \'/tmp/x\'; --', "home\0", "home\n", "*", "location=home", "a" * 64,
    "<script>alert(1)</script>", "${HOME}", "{{7*7}}", "ﬀ", "HOME", "",
)  # fmt: skip


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """The application over two days of two nodes."""
    layout = fresh(tmp_path_factory)
    now = int(time.time()) // STEP * STEP
    nodes = {"attic": "home", "barn": "farm"}
    entries = {
        node: [{
            "valid_from": utc_text(now - 2 * DAY), "valid_to": None, "interval_seconds": STEP, "offset_seconds": 0,
            "location": location, "plan_download_mbps": 100, "plan_upload_mbps": 0,
        }]
        for node, location in nodes.items()
    }  # fmt: skip
    (layout.state / "schedule.json").write_text(json.dumps({"nodes": entries}))
    times = range(now - 2 * DAY, now, STEP)
    put(layout, *(slot(node, at, place, download_bps=9e7) for node, place in nodes.items() for at in times if at % 7))
    own = tmp_path_factory.mktemp("own")
    variables = {"SPEEDTEST_ARCHIVE_DIR": str(layout.root), "SPEEDTEST_DASHBOARD_DIR": str(own)}
    made = create_app(settings.load({**variables, "SPEEDTEST_DASHBOARD_HOSTS": "testserver"}))
    yield made
    made.state.figures.source.rollups.close()


def asked(operation, mode):
    """The statuses of answers to what an operation's description allows, or to what it does not."""
    statuses = set()

    @of_hypothesis(
        max_examples=EXAMPLES[mode],
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case):
        answer = case.call()
        statuses.add(answer.status_code)
        case.validate_response(answer, checks=KEPT)

    ask()
    return statuses


@pytest.mark.sampled
def test_each_answer_is_as_described(app):
    """Questions made from the description, some of them wrong on purpose."""
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", app)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert {each.method.upper() for each in operations} == {"GET", "POST", "DELETE"}
    right = {each.label: asked(each, GenerationMode.POSITIVE) for each in operations}
    assert len(right) >= 17
    assert sum(200 in met for met in right.values()) >= 8  # for the others names and times would have to be guessed
    wrong = {
        each.label: asked(each, GenerationMode.NEGATIVE)
        for each in operations
        if each.query or each.path_parameters or each.body
    }
    assert {label for label, met in wrong.items() if not met & {400, 404, 422}} == set()


@pytest.fixture(scope="module")
def client(app):
    return TestClient(app, base_url=HOME)


@pytest.mark.sampled
@pytest.mark.parametrize("text", some(NASTY, 3))
def test_no_name_is_a_path_or_sql(app, client, text):
    """A name that is none is refused before anything is asked; a cursor is only compared with."""
    before = Archive(app.state.figures.source.layout).query("SELECT count(*) AS n FROM records")["n"][0].as_py()
    for path in ("nodes", "locations", "records"):
        answer = client.get(f"/api/v1/{path}/{quote(text, safe='')}")
        assert answer.status_code in (404, 422) or (answer.status_code == 200 and text == ""), (path, answer.text)
    for path in ("series", "records", "cells", "week", "coverage", "outages", "report", "logs"):
        for name in ("location", "node"):
            answer = client.get(f"/api/v1/{path}", params={"location": "home", name: text})
            assert answer.status_code == 422 or (path == "report" and name == "node"), (path, name, answer.text)
    assert client.get("/api/v1/week", params={"location": "home", "zone": text}).status_code in (200, 400)
    for place in ([1, text, text], [10**14, text, text], [text, text, text], [2**80, "a", "b"], [1.5, "a", "b"]):
        cursor = base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")
        answer = client.get("/api/v1/records", params={"cursor": cursor, "range": "7d"})
        assert answer.status_code in (200, 400, 422), answer.text
        if answer.status_code == 200 and place[0] == 1:
            assert answer.json()["records"] == []
    after = Archive(app.state.figures.source.layout).query("SELECT count(*) AS n FROM records")["n"][0].as_py()
    assert after == before


def test_a_record_of_another_node_is_not_found_by_hints(client):
    newest = client.get("/api/v1/records", params={"node": "attic", "limit": 1}).json()["records"]
    run = newest[0]["run_id"]
    assert client.get(f"/api/v1/records/{run}").status_code == 200
    assert client.get(f"/api/v1/records/{run}", params={"node": "../barn"}).status_code == 422
