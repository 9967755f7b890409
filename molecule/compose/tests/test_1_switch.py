"""Change the variable, run site.yml: the other runtime is gone without trace, and no result with it."""

from __future__ import annotations

import json

import pytest
from containers import CONTAINER, health
from fleet import attempt, coverage, measure_by_hand, on, playbook, query, recap, wait_until

from speedtest_logger import __version__

NODE, HUB = "shed", "hub"
STATE = "/var/lib/speedtest-telemetry"
TIMED = ("speedtest-logger.timer", "speedtest-push.timer", "speedtest-logger.service", "speedtest-push.service")


@pytest.fixture(scope="module")
def timer(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """What site.yml is told where shed is to have a timer: the inventory has it in a container."""
    folder = tmp_path_factory.mktemp("timer")
    (folder / "hosts.yml").write_text(f"all: {{hosts: {{{NODE}: }}}}\n", encoding="utf-8")
    (folder / "host_vars").mkdir()
    (folder / f"host_vars/{NODE}.yml").write_text("speedtest_logger_runtime: systemd\n", encoding="utf-8")
    return "-i", str(folder)


@pytest.fixture(scope="module", autouse=True)
def _a_timer_first(timer):
    done = playbook("site.yml", *timer)
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.fixture
def archive_away():
    """The node cannot deliver: it reaches the target on that host, and the control machine reaches both."""
    deliveries = f"to {on(NODE, f'getent hosts {HUB}').split()[0]} ipproto tcp dport 22 unreachable"
    on(NODE, f"ip rule add {deliveries}")
    yield
    on(NODE, f"ip rule del {deliveries}")


def outbox() -> set[str]:
    return set(on(NODE, f"ls {STATE}/outbox").split())


def history() -> set[str]:
    return set(on(NODE, f"find {STATE}/results -type f -exec sha256sum {{}} +").splitlines())


def converge(*options: str) -> None:
    done = playbook("site.yml", *options)
    assert done.returncode == 0, done.stdout[-3000:]
    again = playbook("site.yml", *options)
    assert sum(counts["changed"] for counts in recap(again).values()) == 0, again.stdout[-3000:]


def fill_outbox() -> tuple[set[str], set[str]]:
    """Two measurements by hand, and the slots that came."""
    on(NODE, "speedtest-logger measure --wait && speedtest-logger measure --wait")
    assert len(outbox()) >= 2
    return outbox(), history()


def assert_all_arrived(waited: set[str]) -> None:
    wait_until(
        "the outbox is empty",
        lambda: attempt(NODE, "speedtest-logger push --force").returncode == 0 and not outbox(),
        90,
    )
    runs = [row["run_id"] for row in query("SELECT run_id FROM records", HUB)]
    assert len(runs) == len(set(runs))
    assert {name.removesuffix(".csv") for name in waited} <= set(runs)
    slots = "SELECT count(*) AS n FROM records WHERE scheduled_at IS NOT NULL GROUP BY node, scheduled_at"
    assert {row["n"] for row in query(slots, HUB)} == {1}


def test_where_the_base_image_cannot_be_had_the_timer_goes_on():
    measure_by_hand(NODE)
    assert query(f"SELECT count(*) AS n FROM records WHERE node = '{NODE}' AND status = 'ok'", HUB)[0]["n"] > 0
    checked = playbook("site.yml", "--check", "--diff")
    assert checked.returncode == 0, checked.stdout[-3000:]
    assert attempt(NODE, "command -v docker").stdout == ""
    done = playbook("site.yml", "--extra-vars=speedtest_logger_base_image=registry.example.org/debian:none")
    assert done.returncode != 0
    said = " ".join(done.stdout.split())
    assert f"image speedtest-logger:{__version__} cannot be had" in said
    assert "registry.example.org/debian:none" in said
    assert "speedtest_logger_image_source" in said
    assert "What ran before goes on running" in said
    assert on(NODE, "systemctl is-active speedtest-logger.timer").strip() == "active"
    assert on(NODE, "speedtest-logger measure --wait")


def test_to_a_container(archive_away):
    waited, kept = fill_outbox()
    converge()
    assert waited <= outbox()
    assert kept <= history()
    wait_until("the container is healthy", lambda: health(NODE) == "healthy", 60, NODE)
    for unit in TIMED:
        assert attempt(NODE, f"systemctl cat {unit}").returncode != 0
    assert attempt(NODE, "ls /etc/systemd/system/speedtest-*").returncode != 0
    before = len(outbox())
    wait_until("the container has measured", lambda: len(outbox()) > before, 100, NODE, every=1)


def test_everything_arrives_and_every_slot_is_accounted_for():
    assert_all_arrived(outbox())
    on(NODE, 'test -z "$(ls /var/lib/speedtest-telemetry/rejected)"')
    runtimes = query(f"SELECT DISTINCT runtime FROM records WHERE node = '{NODE}'", HUB)
    assert {row["runtime"] for row in runtimes} == {"compose", "systemd"}
    cover = coverage("--last", "1h", "--grace", "1min", node=HUB)[NODE]
    assert cover["expected"] == sum(cover[name] for name in ("ok", "partial", "failed", "skipped", "missed", "pending"))
    assert cover["missed"] <= 1


def test_and_back_to_the_timer(timer, archive_away):
    waited, kept = fill_outbox()
    converge(*timer)
    assert waited <= outbox()
    assert kept <= history()
    assert attempt(NODE, f"docker container inspect {CONTAINER}").returncode != 0
    assert on(NODE, "docker image ls --quiet speedtest-logger") == ""
    assert on(NODE, "docker ps --all --quiet") == ""
    assert attempt(NODE, "ls /etc/speedtest-telemetry/compose.yml").returncode != 0
    assert on(NODE, "readlink /usr/local/bin/speedtest-logger").strip().endswith("/current/bin/speedtest-logger")
    before = len(outbox())
    wait_until("the timer has measured", lambda: len(outbox()) > before, 100, NODE, every=1)


def test_everything_has_arrived_again():
    assert_all_arrived(outbox())
    cover = coverage("--last", "1h", "--grace", "1min", node=HUB)[NODE]
    assert cover["missed"] <= 2  # one for each direction
    state: dict = {}

    def nothing_waits() -> bool:
        """A slot's record waits for some seconds."""
        state.update(json.loads(attempt(NODE, "speedtest-logger status --json").stdout))
        return state["outbox_records"] == 0

    wait_until("nothing waits", nothing_waits, 60, NODE, every=1)
    assert (state["runtime"], state["rejected_records"]) == ("systemd", 0)
