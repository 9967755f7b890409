"""A share: one line's page for whoever has the link, nothing of other lines, and no answer to anybody else."""

from __future__ import annotations

import secrets

import pytest
from parsed import parsed
from sample import HOSTILE, LONG, SampleFigures

from speedtest_logger.dashboard import keys

OTHERS = ("garage", "bench", "door", "shed", "flat-3", HOSTILE, LONG)


@pytest.fixture
def shared(client, guarded, write):
    """A visitor without login, and links: one that holds, one that has expired, one to a line that is gone."""
    tokens = {name: secrets.token_urlsafe(32) for name in ("good", "late", "gone")}
    entries = [
        {"location": location, "sha256": keys.sha256(tokens[name]), "expires": expires}
        for name, location, expires in (
            ("good", "home", None), ("late", "home", "2020-01-01"), ("gone", "moved-away", None),
        )
    ]  # fmt: skip
    browser = client(guarded(SPEEDTEST_DASHBOARD_SHARES_FILE=write("shares.json", entries)))
    browser.app.state.figures = SampleFigures()
    return browser, tokens


def test_a_link_shows_its_line_and_nothing_of_others(shared):
    browser, tokens = shared
    answer = browser.get(f"/share/{tokens['good']}?range=7d")
    assert answer.status_code == 200
    page = parsed(answer.text)
    assert page.one("h1").one(kind="name").text == "home"
    assert [word for word in OTHERS if word in page.text] == []
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "noindex" in answer.headers["X-Robots-Tag"]


def test_every_address_on_it_is_of_the_share_itself(shared):
    browser, tokens = shared
    page = parsed(browser.get(f"/share/{tokens['good']}").text)
    places = [each["href"] for each in page.all("a")] + [each["action"] for each in page.all("form")]
    assert len(places) > 5
    assert {place.partition("?")[0] for place in places} == {"#main", f"/share/{tokens['good']}"}
    assert not page.all("form", method="post")
    assert not page.all(id="live")


def test_its_charts_have_columns_of_this_line_only(shared):
    browser, tokens = shared
    path = f"/share/{tokens['good']}/series"
    asked = "start=2026-11-27T00:00:00Z&end=2026-11-28T00:00:00Z"
    own = browser.get(f"{path}?{asked}").json()
    assert own["at"]
    assert browser.get(f"{path}?{asked}&location=garage").json() == own  # what it is of is not asked
    assert browser.get(f"{path}?{asked}&node=cellar").status_code == 200
    assert browser.get(f"{path}?{asked}&node=bench").status_code == 404


def test_its_badge_may_stand_on_any_page(shared):
    browser, tokens = shared
    answer = browser.get(f"/share/{tokens['good']}/badge.svg")
    assert parsed(answer.text).all("text")[0].text == "home"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"


@pytest.mark.parametrize("part", ["", "/series", "/badge.svg"])
def test_links_that_lead_nowhere_are_all_alike(shared, part):
    browser, tokens = shared
    answers = [
        browser.get(f"/share/{token}{part}") for token in (tokens["late"], tokens["gone"], secrets.token_urlsafe(32))
    ] + [browser.get(f"/share/7{part}")]
    assert [answer.status_code for answer in answers] == [404] * 4
    assert len({answer.text for answer in answers}) == 1


def test_a_link_opens_nothing_else(shared):
    browser, tokens = shared
    browser.get(f"/share/{tokens['good']}")
    for path in ("/", "/line/home", "/fleet", "/badge/home.svg", "/line/home/report"):
        assert browser.get(path).status_code == 401
