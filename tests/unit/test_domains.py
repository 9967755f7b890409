"""Domains: what lies inside is read, what lies outside is refused; calendars as systemd reads them."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tries import tries

from speedtest_logger import calendars, domains
from speedtest_logger.inventory import kinds


@pytest.mark.parametrize(
    ("domain", "inside", "outside"),
    [
        (domains.IDENTIFIER, ["attic", "a-1"], ["Attic", "12", "../etc", "-a", "a\n", 5]),
        (domains.ACCOUNT, ["speedtest", "_x1"], ["root", "0", "1a", "A", "www-data", "systemd-x", "a b", "a" * 33]),
        (domains.Whole(100, 60_000), [100, 60_000], [0, 99, 60_001, True, 100.5, "471", None, float("nan")]),
        (domains.Number(0, 10), [0, 1.5, 10], [-1, -5, 11, float("nan"), float("inf"), True, "1"]),
        (domains.BOOLEAN, [True, False], ["true", 1, "perhaps", None]),
        (domains.PORT, [1, 65_535], [0, -1, 65_536, 99_999, "22", "ssh"]),
        (domains.Whole(1, 65_535, texts=True), [22, "22"], ["ssh", "0", "99999", "٢٢"]),
        (domains.Interval(), ["15min", "1h", "2h 24min"], ["7min", "often", "1h\n", "0s", 3600, "٣min"]),
        (domains.HOST, ["a.example.org", "192.0.2.1", "2001:db8::1"],
         ["-oProxyCommand=x y", "a b", "1.2.3", "a..b", ""]),
        (domains.HOST_PORT, ["a", "a:5201", "[::1]:5201", "::1"], ["a:0", "a:99999", "-a:1", "a:b", "[a]:1"]),
        (domains.URL, ["http://target:8989/", "https://[::1]:1/x?y=1"],
         ["ftp://x/", "http:///", "http://a b/", "http://a:0/"]),
        (domains.TIMEZONE, ["Europe/Berlin", "UTC"], ["Mars/Olympus", "/etc/passwd", "../UTC", "Europe"]),
        (domains.ADDRESS, ["192.0.2.1", "fe80::1%eth0"], ["a.example.org", "192.0.2.1%eth0", "::1% x"]),
        (kinds.Directory(), ["/srv/x", "/opt/a/b", "/var/lib/speedtest", "/etc/speedtest", "/mnt/usb/x"],
         ["/", "/etc", "/var", "/var/lib", "/srv", "/usr/local/x", "/home/x", "/root", "/tmp/x", "/dev/x",
          "/etc/ssh", "x",
          "/srv/x/", "/srv//x", "/srv/../etc", "/srv/./x", "/srv/a b", "/srv/x\n", '/srv/"x', "/srv/%x",
          "/srv/$x", "/var/lib/dpkg"]),
        (kinds.VERSION, ["0.1.0"], ["latest", "1.0", "../../../tmp/x", "1.0.0\n", 1.0]),
        (kinds.SHA256, ["a" * 64], ["a" * 63, "A" * 64, "", None]),
        (kinds.FILE_NAME, ["speedtest", "a-1.tgz"], ["../../x", "a/b", ".", "..", "-x"]),
        (kinds.MEMORY, ["256m", "1g"], ["256", "1k", "256MB", "-1m", "9999g"]),
        (kinds.SIZE, ["500MB", "20GB"], ["20", "0GB", "-1GB", "1e9MB"]),
        (kinds.IMAGE, [f"registry.example.org:5000/a/b@sha256:{'0' * 64}"], ["x:latest", "x", f"x@sha256:{'0' * 63}"]),
        (kinds.BASE_IMAGE, ["debian:trixie-slim", "registry.example.org/debian:none"],
         ["debian", "debian:latest", "-x:1"]),
        (kinds.REPOSITORY, ["/srv/backup", "sftp:user@host:/path", "s3:https://host/bucket", "rest:https://u:p@host/"],
         ["backup", "/etc", "sftp:-oProxyCommand=x:/y", "s3:a b", "sftp:a@h:/x\n"]),
        (kinds.BATCHES, [1, "20%", [1, "20%"]], [0, "0%", "101%", [], ["x"], True]),
        (kinds.ARMOUR, ["-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nbm8=\n-----END PGP PUBLIC KEY BLOCK-----"],
         ["key", "\0"]),
        (kinds.Calendar(), ["daily", "*-*-* 04:40:00 UTC"], ["garbage", "daily\n", "daily\nOnCalendar=hourly", ""]),
        (kinds.VARIABLE, ["AWS_ACCESS_KEY_ID"], ["LD_PRELOAD", "PATH", "RESTIC_PASSWORD", "1A", "A=B"]),
    ],
)  # fmt: skip
def test_inside_and_outside(domain, inside, outside):
    assert [value for value in inside if domain.problem(value)] == []
    assert [value for value in outside if domain.problem(value) is None] == []
    assert domain.words()
    assert domain.spec()["type"]


def test_a_host_key_is_what_its_base64_says():
    good = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5ZVQyq3P0YJ1T0A5lgHq1w5b1YJZ7bq3m3m1vYl1bX root@archive"
    assert kinds.HOST_KEY.problem(good) is None
    for bad in (good.replace("AAAAC3", "BBBBC3"), "ssh-ed25519 x", good + "\nevil", "ssh-rsa " + good.split()[1]):
        assert kinds.HOST_KEY.problem(bad)


@pytest.mark.parametrize(
    ("domain", "text", "value"),
    [
        (domains.Interval(), "3600", 3600),
        (domains.Interval(), "1h", 3600),
        (domains.Number(0, 10), "1e-05", 1e-05),
        (domains.BOOLEAN, "True", True),
        (domains.ListOf(domains.Window()), "22:00-06:00", ((1320, 360),)),
        (domains.ListOf(domains.WORD), "--title 'a b'", ("--title", "a b")),
    ],
)
def test_what_a_settings_text_is_read_as(domain, text, value):
    assert domain.parse(text) == value


def test_a_number_in_quotes_is_told_to_lose_them():
    assert domains.Whole(0, 9).problem("5") == "a whole number from 0 to 9 is expected, without quotes: this is text"
    assert domains.Whole(0, 9).problem("long") == "a whole number from 0 to 9 is expected"


def parts(last: int) -> st.SearchStrategy[str]:
    number = st.integers(0, last).map(str) | st.integers(0, last).map("{:02d}".format)
    part = st.tuples(number, st.just("") | number.map("..{}".format), st.just("") | number.map("/{}".format)).map(
        "".join
    )
    return st.just("*") | st.lists(part, min_size=1, max_size=3).map(",".join)


WEEKDAYS = st.lists(st.sampled_from(["Mon", "tue", "WED", "Thursday", "sunday", "tues"]), min_size=1, max_size=3)
YEARS = st.sampled_from(["*", "2026", "2026..2030", "99", "2300", "2026/3", "*/2"])
DATES = st.tuples(YEARS, parts(13), st.sampled_from("-~"), parts(32)).map(lambda p: f"{p[0]}-{p[1]}{p[2]}{p[3]}")
TIMES = st.tuples(parts(24), parts(60)).map(":".join) | st.tuples(parts(24), parts(60), parts(60)).map(":".join)
EXPRESSIONS = st.tuples(
    st.just("") | st.tuples(WEEKDAYS, st.sampled_from([",", "..", "-", ", "])).map(lambda p: p[1].join(p[0])),
    st.just("") | DATES,
    st.just("") | TIMES | st.just("daily") | parts(23),
    st.sampled_from(["", "", "UTC", "utc", "Europe/Berlin", "Mars/X"]),
).map(lambda p: " ".join(part for part in p if part))
SHAPES = st.text("*-:/.,~ 0123456789MonTueUTC", max_size=20)


@settings(
    max_examples=tries(12), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(st.lists(EXPRESSIONS | SHAPES, min_size=40, max_size=60, unique=True))
def test_a_calendar_is_what_systemd_takes_for_one(texts):
    texts = [text for text in texts if text and "@" not in text]
    done = subprocess.run(["systemd-analyze", "calendar", "--", *texts], capture_output=True, text=True, check=False)
    refused = {text for text in texts if f"Failed to parse calendar specification '{text}'" in done.stderr}
    assert {text for text in texts if not calendars.is_calendar(text)} == refused
