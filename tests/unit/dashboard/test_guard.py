"""Every route says its scope, and nobody without it gets past: walked, so that later routes are looked at too."""

from __future__ import annotations

import re

import pytest
from dashboards import HOME, PASSWORD
from fastapi import APIRouter, Depends, FastAPI, WebSocket
from starlette.testclient import WebSocketDenialResponse

from speedtest_logger.dashboard import guard
from speedtest_logger.dashboard.app import create_app, openapi
from speedtest_logger.dashboard.guard import May, may, routes_of
from speedtest_logger.dashboard.keys import SCOPES

LIVE = HOME.replace("http", "ws")  # the test client goes elsewhere with a path alone
FOREIGN = {"Origin": "https://elsewhere.example"}


def planted(app: FastAPI) -> FastAPI:
    """The application with a route of each kind besides, included from a router in a router."""
    inner = APIRouter(dependencies=[Depends(may("read"))])

    @inner.get("/api/planted/{node}")
    @inner.post("/api/planted/{node}", dependencies=[Depends(may("quiet"))])
    def show(node: int) -> int:
        return node

    @inner.websocket("/planted")
    async def live(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("hello")
        await websocket.close()

    outer = APIRouter()
    outer.include_router(inner, prefix="/in")
    app.include_router(outer)
    return app


def asked(client, route, method, **headers):
    """The status of a request: of a WebSocket's handshake 101."""
    path = re.sub(r"\{[^}]*\}", "7", route.path)
    if method != "WEBSOCKET":
        return client.request(method, path, headers=headers).status_code
    try:
        with client.websocket_connect(f"{LIVE}{path}", headers=headers):
            return 101
    except WebSocketDenialResponse as refused:
        return refused.status_code


def calls(app):
    """Each route with each of its methods; a folder is read."""
    for route in routes_of(app):
        for method in route.methods or (("GET",) if route.path in guard.OPEN_MOUNTS else ("WEBSOCKET",)):
            yield route, method


def bearer(entry):
    return {"Authorization": f"Bearer {entry['key']}"}


def test_each_route_refuses_whoever_lacks_its_scope(guarded, client, entry_of):
    all_scopes, late = entry_of(*SCOPES), entry_of(*SCOPES, expires="2026-01-31")
    but_one = {scope: entry_of(*(other for other in SCOPES if other != scope)) for scope in SCOPES}
    app = planted(create_app(guarded(all_scopes, late, *but_one.values())))
    program, wrong, walked = client(app), [], []
    for route, method in calls(app):
        walked.append((route.path, method))
        assert route.scopes is not None, route.path
        if not route.scopes:
            got = [asked(program, route, method, **who) for who in ({}, bearer(late))]
            wrong += [(route.path, method, status) for status in got if status in (401, 403)]
            continue
        expected = {
            "no key": ({}, 401),
            "an expired key": (bearer(late), 401),
            "no key that we know": ({"Authorization": f"Bearer {all_scopes['key'][:-1]}"}, 401),
            "a password where a key should be": ({"Authorization": "Basic ZXZhOng="}, 401),
            "a cookie that we know nothing of": ({"Cookie": f"speedtest_session={'A' * 43}"}, 401),
            "a key without the scope": (bearer(but_one[max(route.scopes)]), 403),
        }
        if method not in ("GET", "HEAD"):
            expected["a foreign page"] = ({**bearer(all_scopes), **FOREIGN}, 403)
            expected["a key with another of its scopes"] = (bearer(but_one[min(route.scopes)]), 403)
            expected["a cookie without a page"] = ({"Cookie": f"speedtest_session={'A' * 43}"}, 403)
            del expected["a cookie that we know nothing of"]
        for who, (headers, status) in expected.items():
            if (got := asked(program, route, method, **headers)) != status:
                wrong.append((route.path, method, who, got))
        got = asked(program, route, method, **bearer(all_scopes))
        if got != 403 if route.users_only else got in (401, 403) or got >= 500:
            wrong.append((route.path, method, "the right key", got))
    assert wrong == []
    assert {("/in/api/planted/{node}", "POST"), ("/in/planted", "WEBSOCKET"), ("/api/openapi.json", "GET")} <= {*walked}
    assert {route.path for route in routes_of(app) if route.users_only} == {"/auth"}


def test_a_route_that_says_no_scope_keeps_the_application_from_starting(load):
    app = create_app(load())
    guard.check_routes(app)

    @app.get("/forgotten")
    def forgotten() -> None:
        """Nobody said who may."""

    router = APIRouter(dependencies=[Depends(lambda: None)])
    router.add_api_websocket_route("/forgotten-too", forgotten)
    app.include_router(router, prefix="/in")
    with pytest.raises(AssertionError, match=r"/forgotten, /in/forgotten-too"):
        guard.check_routes(app)


def test_a_route_with_two_scopes_needs_both(guarded, client, entry_of):
    reader, writer, both = entry_of("read"), entry_of("quiet"), entry_of("read", "quiet")
    program = client(planted(create_app(guarded(reader, writer, both))))
    assert program.get("/in/api/planted/7", headers=bearer(reader)).json() == 7
    for key in (reader, writer):
        assert program.post("/in/api/planted/7", headers=bearer(key)).status_code == 403
    assert program.post("/in/api/planted/7", headers=bearer(both)).json() == 7


def test_there_is_no_scope_of_another_name():
    with pytest.raises(ValueError, match="'all' is no scope"):
        may("all")
    assert isinstance(may("read"), May)


def test_without_users_everybody_on_this_machine_may_but_a_key_is_still_judged(load, client, write, entry_of):
    entry = entry_of("read", expires="2026-01-31")
    late = {name: value for name, value in entry.items() if name != "key"}
    app = planted(create_app(load(SPEEDTEST_DASHBOARD_KEYS_FILE=write("keys.json", [late]))))
    browser = client(app)
    assert browser.get("/in/api/planted/7").json() == 7
    assert browser.post("/in/api/planted/7").json() == 7
    assert browser.get("/in/api/planted/7", headers=bearer(entry)).status_code == 401
    assert browser.post("/in/api/planted/7", headers=FOREIGN).status_code == 403
    with browser.websocket_connect(f"{LIVE}/in/planted") as live:
        assert live.receive_text() == "hello"
    with pytest.raises(WebSocketDenialResponse), browser.websocket_connect(f"{LIVE}/in/planted", headers=FOREIGN):
        pass


def test_an_origin_that_is_allowed_may_read_and_act_with_a_key_only(guarded, client, entry_of):
    key = entry_of(*SCOPES)
    program = client(planted(create_app(guarded(key, CORS_ORIGINS="https://panel.example"))))
    here = {"Origin": "https://panel.example"}
    answer = program.get("/in/api/planted/7", headers={**here, **bearer(key)})
    assert answer.headers["access-control-allow-origin"] == "https://panel.example"
    assert "access-control-allow-credentials" not in answer.headers
    assert program.post("/in/api/planted/7", headers={**here, **bearer(key)}).status_code == 200
    assert program.post("/in/api/planted/7", headers=here).status_code == 401
    asks = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    assert program.options("/in/api/planted/7", headers={**here, **asks}).status_code == 200
    assert program.options("/in/api/planted/7", headers={**FOREIGN, **asks}).status_code == 400
    assert "access-control-allow-origin" not in program.get("/health", headers=FOREIGN).headers


def test_no_other_origin_hears_anything_where_none_is_allowed(load, client):
    assert "access-control-allow-origin" not in client(load()).get("/health", headers=FOREIGN).headers


def test_a_user_may_read_see_raw_output_quieten_and_annotate(guarded, client):
    app = create_app(guarded())
    for scope in SCOPES:
        app.add_api_route(f"/{scope}", lambda: 1, dependencies=[Depends(may(scope))])
    browser = client(app, Origin=HOME)
    browser.post("/login", data={"name": "eva", "password": PASSWORD})
    assert {scope: browser.get(f"/{scope}").status_code for scope in SCOPES} == {
        "read": 200, "raw": 200, "metrics": 403, "quiet": 200, "annotate": 200, "logs": 200,
    }  # fmt: skip


def test_openapi_says_what_each_operation_needs(load):
    app = planted(create_app(load()))
    described = openapi(app)
    assert openapi(app) is described
    operation = described["paths"]["/in/api/planted/{node}"]["post"]
    assert operation["security"] == [{"key": ["quiet", "read"]}, {"session": []}]
    assert {"401", "403", "default"} <= set(operation["responses"])
    assert described["paths"]["/health"]["get"]["security"] == []
    assert set(described["components"]["securitySchemes"]) == {"key", "session"}
    assert "HTTPValidationError" not in str(described)
