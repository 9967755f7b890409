"""What holds for every answer, and what no route gets to see."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated

import pytest
from dashboards import HOME
from fastapi import Body, Depends
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect
from starlette.testclient import TestClient

from speedtest_logger.dashboard import gate, settings
from speedtest_logger.dashboard.app import create_app
from speedtest_logger.dashboard.events import JsonLines
from speedtest_logger.dashboard.gate import HEADERS, host_of
from speedtest_logger.dashboard.guard import ANYONE, may
from speedtest_logger.errors import StorageError, UsageError

SECRET = "/srv/secret/place"


def app_with(made, **routes):
    app = create_app(made, JsonLines("debug"))
    for name, act in routes.items():
        app.add_api_route(f"/{name}", act, dependencies=[Depends(may(ANYONE))])
        app.add_api_route(f"/api/{name}", act, dependencies=[Depends(may(ANYONE))])
    return app


def fail():
    raise RuntimeError(SECRET)


def refuse():
    raise UsageError("there is no such node")


def storage():
    raise StorageError(SECRET)


def large():
    return "x" * 100_000


def own():
    from starlette.responses import Response

    return Response("x", headers={"Content-Security-Policy": "sandbox", "Cache-Control": "max-age=1"})


@pytest.fixture(scope="module")
def asking(tmp_path_factory) -> Iterator[TestClient]:
    """A client of one application without users, for questions that change nothing."""
    folder = tmp_path_factory.mktemp("dashboard")
    for name in ("root/archive", "root/manifest", "root/state", "own"):
        (folder / name).mkdir(parents=True)
    variables = {"SPEEDTEST_ARCHIVE_DIR": str(folder / "root"), "SPEEDTEST_DASHBOARD_DIR": str(folder / "own")}
    app = app_with(settings.load(variables), fail=fail, storage=storage, refuse=refuse, large=large, own=own)
    client = TestClient(app, base_url=HOME, follow_redirects=False)
    yield client
    client.close()


given_up: list[bool] = []


async def slow():
    import asyncio

    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        given_up.append(True)
        raise


@pytest.mark.parametrize(
    "path", ["/health", "/login", "/none", "/api/none", "/fail", "/api/fail", "/static/dashboard.css", "/static/none"]
)
@pytest.mark.parametrize("accept", ["text/html", "*/*"])
def test_every_answer_has_the_headers(asking, path, accept):
    answer = asking.get(path, headers={"Accept": accept})
    assert {name: answer.headers.get(name) for name in HEADERS if name != "Cache-Control"} == {
        name: value for name, value in HEADERS.items() if name != "Cache-Control"
    }
    assert "no-" in answer.headers["cache-control"]
    assert "unsafe" not in answer.headers["content-security-policy"]


def test_answers_to_refused_requests_have_them_too(asking):
    for answer in (
        asking.post("/login", headers={"Origin": "https://elsewhere.example"}),
        asking.get("/health", headers={"Host": "elsewhere.example"}),
    ):
        assert answer.status_code in (403, 421)
        assert set(map(str.lower, HEADERS)) <= set(answer.headers)


def test_a_header_that_a_route_sets_stays(asking):
    answer = asking.get("/own")
    assert answer.headers["content-security-policy"] == "sandbox"
    assert answer.headers["cache-control"] == "max-age=1"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("name", "status", "detail"),
    [("fail", 500, "log says why"), ("storage", 503, "log says why"), ("refuse", 400, "there is no such node"),
     ("none", 404, "Not Found")],
)  # fmt: skip
def test_what_fails_is_a_page_for_people_and_a_problem_for_programs(asking, capsys, name, status, detail):
    page = asking.get(f"/{name}", headers={"Accept": "text/html"})
    problem = asking.get(f"/api/{name}", headers={"Accept": "text/html"})
    assert (page.status_code, problem.status_code) == (status, status)
    assert page.headers["content-type"].startswith("text/html")
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.json() | {"detail": ""} == {
        "type": "about:blank", "title": problem.json()["title"], "status": status, "detail": "",
    }  # fmt: skip
    for answer in (page, problem):
        assert detail in answer.text
        assert SECRET not in answer.text
        assert "Traceback" not in answer.text
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [event["event"] for event in events if SECRET in str(event)] == (["failed"] * 2 if status >= 500 else [])


def test_a_wrong_input_is_a_problem_that_names_it_and_what_was_seen(load, client):
    def number(count: int) -> int:
        return count

    problem = client(app_with(load(), number=number)).get("/api/number?count=<script>")
    assert problem.status_code == 422
    assert problem.json()["errors"][0]["where"] == "query.count"
    assert problem.json()["errors"][0]["what"].endswith(", and not '<script>'")
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.headers["x-content-type-options"] == "nosniff"


def test_a_wrong_input_is_text_on_a_page(load, client):
    def number(count: int) -> int:
        return count

    page = client(app_with(load(), number=number)).get("/number?count=<script>", headers={"Accept": "text/html"})
    assert (page.status_code, page.headers["content-type"].partition(";")[0]) == (422, "text/html")
    assert "&lt;script&gt;" in page.text
    assert "<script>" not in page.text


def test_a_wrong_input_of_a_body_is_not_repeated(load, client):
    def sign_in(password: Annotated[int, Body(embed=True)]) -> int:
        return password

    app = app_with(load())
    app.add_api_route("/api/sign-in", sign_in, methods=["POST"], dependencies=[Depends(may(ANYONE))])
    problem = client(app).post("/api/sign-in", json={"password": "<secret>"})
    assert (problem.status_code, "<secret>" in problem.text) == (422, False)


def test_what_takes_too_long_is_given_up(load, client, monkeypatch):
    monkeypatch.setattr(gate, "SECONDS", 0.2)
    answer = client(app_with(load(), slow=slow)).get("/slow")
    assert answer.status_code == 503
    assert "took too long" in answer.text
    assert given_up == [True]


def test_an_answer_that_has_begun_has_its_time(load, client, monkeypatch):
    import asyncio

    from starlette.responses import StreamingResponse

    async def parts():
        yield b"a"
        await asyncio.sleep(1.3)
        yield b"b"

    def streamed():
        return StreamingResponse(parts(), media_type="application/octet-stream")

    monkeypatch.setattr(gate, "SECONDS", 1.0)
    assert client(app_with(load(), streamed=streamed)).get("/streamed").content == b"ab"


def test_answers_are_compressed_where_that_pays(asking):
    assert asking.get("/large").headers["content-encoding"] == "gzip"
    assert "content-encoding" not in asking.get("/large", headers={"Accept-Encoding": "identity"}).headers
    assert "content-encoding" not in asking.get("/health").headers


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "169.254.1.1"])
def test_without_users_only_loopback_s_names_are_answered(asking, host):
    refused = asking.get("/health", headers={"Host": host})
    assert refused.status_code == 421
    assert "SPEEDTEST_DASHBOARD_HOSTS" in refused.text


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "LOCALHOST", "localhost."])
def test_loopback_has_many_names(asking, host):
    assert asking.get("/health", headers={"Host": host}).status_code == 200


def test_names_that_are_set_are_answered_and_no_other(load, guarded, client):
    names = {"SPEEDTEST_DASHBOARD_HOSTS": "tests.example, 192.0.2.7"}
    for made in (load(**names), guarded(**names)):
        browser = client(made)
        for host, status in {
            "tests.example": 200,
            "192.0.2.7:8000": 200,
            "127.0.0.1": 200,
            "evil.example": 421,
        }.items():
            assert browser.get("/health", headers={"Host": host}).status_code == status
    assert client(guarded()).get("/health", headers={"Host": "any.example"}).status_code == 200


@given(st.text(max_size=30))
def test_any_host_header_has_a_name(text):
    assert ":" not in host_of(text) or text.startswith("[")


@given(st.sampled_from(["localhost", "127.0.0.1", "::1"]), st.integers(0, 65_535))
def test_a_port_is_no_part_of_the_name(name, port):
    bracketed = f"[{name}]" if ":" in name else name
    assert host_of(f"{bracketed}:{port}") == host_of(bracketed) == name


def test_home_is_loopback():
    assert host_of(HOME.removeprefix("http://")) == "127.0.0.1"


def test_who_hangs_up_in_the_middle_is_no_error(load, client, capsys):
    def gone():
        raise ClientDisconnect

    with suppress(AssertionError):  # the test's client expects an answer
        client(app_with(load(), gone=gone)).get("/gone")
    assert capsys.readouterr().err == ""
