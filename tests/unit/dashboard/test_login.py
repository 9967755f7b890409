"""Logging in and out, as a browser does it without JavaScript."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from dashboards import HOME, PASSWORD
from hypothesis import example, given
from hypothesis import strategies as st

from speedtest_logger.dashboard import guard as guard_
from speedtest_logger.dashboard import keys
from speedtest_logger.dashboard.app import create_app
from speedtest_logger.dashboard.keys import SCOPES
from speedtest_logger.dashboard.login import local_path

READ = "/api/openapi.json"
HTML = {"Accept": "text/html"}


@pytest.fixture
def browser(guarded, client):
    """A browser, and the application's guard."""
    return client(create_app(guarded()), Origin=HOME, Accept="text/html")


def log_in(browser, name="eva", password=PASSWORD, **more):
    return browser.post("/login", data={"name": name, "password": password, **more})


def test_who_has_not_logged_in_is_led_to_the_form_and_then_to_where_they_wanted(browser):
    browser.app.add_api_route("/place/{place}", lambda place: place, dependencies=[guard_depends("read")])
    led = browser.get("/place/home?range=30d&x=%2F")
    assert led.status_code == 303
    form = browser.get(led.headers["location"])
    assert form.status_code == 200
    assert 'name="next" value="/place/home?range=30d&amp;x=%2F"' in form.text
    assert form.text.count("<script") == form.text.count('<script type="module" src="/static/dashboard.js">') == 1
    done = log_in(browser, next="/place/home?range=30d&x=%2F")
    assert (done.status_code, done.headers["location"]) == (303, "/place/home?range=30d&x=%2F")
    assert browser.get(done.headers["location"]).json() == "home"


def guard_depends(scope):
    from fastapi import Depends

    return Depends(guard_.may(scope))


def test_a_program_is_not_led_anywhere(browser):
    answer = browser.get(READ, headers={"Accept": "*/*"})
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["status"] == 401


def test_the_cookie_is_out_of_reach_for_pages_and_other_sites(browser):
    cookie = log_in(browser).headers["set-cookie"]
    parts = {part.strip().partition("=")[0].lower(): part.strip().partition("=")[2] for part in cookie.split(";")}
    assert {"httponly", "samesite", "path", "max-age", "speedtest_session"} == set(parts)
    assert (parts["samesite"], parts["path"]) == ("lax", "/")


def test_with_tls_the_cookie_is_for_tls_and_this_host_only(guarded, client):
    browser = client(create_app(guarded()), "https://tests.example", Origin="https://tests.example")
    cookie = log_in(browser).headers["set-cookie"]
    assert cookie.startswith("__Host-speedtest_session=")
    assert "; Secure" in cookie
    assert browser.get(READ).status_code == 200
    token = browser.cookies["__Host-speedtest_session"]
    browser.cookies.clear()
    assert browser.get(READ, headers={"Cookie": f"speedtest_session={token}"}).status_code == 401


def test_logging_out_ends_the_session_even_for_who_has_copied_the_cookie(browser):
    log_in(browser)
    copied = {"Cookie": f"speedtest_session={browser.cookies['speedtest_session']}"}
    assert browser.get(READ).status_code == 200
    out = browser.post("/logout")
    assert (out.status_code, out.headers["location"]) == (303, "/login")
    assert "speedtest_session" not in browser.cookies
    assert browser.get(READ, headers=copied).status_code == 401


def test_a_front_learns_whether_somebody_has_logged_in_and_a_key_or_a_share_is_nobody(
    guarded, client, entry_of, write, load
):
    key, token = entry_of(*SCOPES), keys.new_token()
    entry = {"location": "home", "sha256": keys.sha256(token), "expires": None}
    shares = write("shares.json", [entry])
    browser = client(create_app(guarded(key, SPEEDTEST_DASHBOARD_SHARES_FILE=shares)), Origin=HOME, **HTML)
    assert browser.get("/auth").status_code == 401  # and leads nowhere: the front does
    bearer = {"Authorization": f"Bearer {key['key']}"}
    assert browser.get("/auth", headers=bearer).status_code == 403
    assert browser.get("/auth", headers={"Cookie": f"speedtest_session={token}"}).status_code == 401
    assert browser.get(f"/auth?token={token}").status_code == 401
    log_in(browser)
    answer = browser.get("/auth")
    assert (answer.status_code, answer.content) == (204, b"")
    assert browser.get("/auth", headers=bearer).status_code == 403
    copied = {"Cookie": f"speedtest_session={browser.cookies['speedtest_session']}"}
    browser.post("/logout")
    assert browser.get("/auth", headers=copied).status_code == 401
    assert client(load()).get("/auth").status_code == 403  # without users nobody logs in


def test_no_other_page_can_log_anybody_in_or_out(browser):
    log_in(browser)
    for path in ("/login", "/logout"):
        for origin in ("https://elsewhere.example", "null", "http://127.0.0.1:8001", "http://127.0.0.1", ""):
            assert browser.post(path, headers={"Origin": origin}).status_code == 403
    assert browser.get(READ).status_code == 200
    assert browser.get("/logout").status_code == 405


def test_logging_in_again_ends_the_session_before(browser):
    log_in(browser)
    before = {"Cookie": f"speedtest_session={browser.cookies['speedtest_session']}"}
    log_in(browser)
    browser.cookies.clear()
    assert browser.get(READ, headers=before).status_code == 401


@pytest.mark.parametrize(
    ("name", "password"), [("eva", "wrong words"), ("nobody", PASSWORD), ("", ""), ("e" * 9_000, "")]
)
def test_what_is_wrong_is_not_told(browser, name, password):
    answer = log_in(browser, name, password)
    assert answer.status_code == 401
    assert "Name or password is wrong." in answer.text
    assert "set-cookie" not in answer.headers


def test_guessing_is_stopped_and_says_for_how_long(browser, capsys):
    statuses = [log_in(browser, "eva", "wrong words").status_code for _ in range(6)]
    assert statuses == [401] * 5 + [429]
    late = log_in(browser)
    assert late.status_code == 429
    assert 1 <= int(late.headers["retry-after"]) <= 30
    said = capsys.readouterr().err
    assert said.count("login_failed") == 7
    assert "wrong words" not in said


def test_a_password_in_the_field_of_the_name_is_not_logged(browser, capsys):
    log_in(browser, name=PASSWORD, password="")
    said = capsys.readouterr().err
    assert "login_failed" in said
    assert PASSWORD not in said


def test_more_logins_at_once_than_there_is_room_for_have_to_wait(browser):
    browser.app.state.guard._waiting = guard_.MOST_WAITING
    assert log_in(browser).status_code == 429


def test_a_name_is_text_wherever_it_is_shown(browser):
    page = log_in(browser, name='"><script>alert(1)</script>')
    assert "<script>" not in page.text
    assert "&lt;script&gt;" in page.text


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [(b"name=%ff", "application/x-www-form-urlencoded", 400), (b"\xff", "application/x-www-form-urlencoded", 400),
     (b"&".join(b"a%d=1" % n for n in range(50)), "application/x-www-form-urlencoded", 400),
     (b"{}", "application/json", 415), (b"x", "", 415), (b"x" * 64_001, "application/x-www-form-urlencoded", 413)],
)  # fmt: skip
def test_what_is_no_form_is_refused(browser, content, kind, status):
    assert browser.post("/login", content=content, headers={"Content-Type": kind}).status_code == status


def test_a_form_without_an_end_is_not_read_to_it(browser):
    def endless():
        for _ in range(1_000):
            yield b"x" * 1_000

    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert browser.post("/login", content=endless(), headers=form).status_code == 413


def test_where_nobody_has_to_log_in_there_is_no_form(load, client):
    browser = client(load(), Origin=HOME)
    assert browser.get("/login?next=/fleet").headers["location"] == "/fleet"
    assert log_in(browser).headers["location"] == "/"


def test_who_has_logged_in_goes_on(browser):
    log_in(browser)
    assert browser.get("/login?next=/fleet").headers["location"] == "/fleet"
    assert browser.get("/login?next=/login").headers["location"] == "/"


def where_a_browser_goes(text):
    """The address that a browser makes of a text on a page of ours (WHATWG URL)."""
    cleaned = "".join(c for c in text.strip(" \x00\x1f") if c not in "\t\r\n").replace("\\", "/")
    return urljoin(HOME + "/login", cleaned)


@given(st.text("/\\.:@?#%ahtps \t\n\r", max_size=20) | st.text(max_size=30))
@example("//evil.example")
@example("/\\evil.example")
@example("/\t/evil.example")
@example("https:evil.example")
@example("/\n/evil.example")
@example("javascript:alert(1)")
def test_whatever_next_is_it_leads_to_a_path_of_ours(text):
    found = local_path(text)
    assert found in (text, "/")
    goes = urlsplit(where_a_browser_goes(found))
    assert f"{goes.scheme}://{goes.netloc}" == HOME
    assert found.isascii()
    assert found.isprintable()


@pytest.mark.parametrize("path", ["/", "/line/home", "/place/home?range=30d&a=%2Fb#x", "/fleet?sort=-down"])
def test_a_path_of_ours_is_kept(path):
    assert local_path(path) == path
