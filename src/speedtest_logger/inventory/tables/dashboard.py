"""Inputs of the role speedtest_dashboard."""

from __future__ import annotations

from speedtest_logger import __version__, domains
from speedtest_logger.dashboard.keys import Key, Share
from speedtest_logger.dashboard.users import User
from speedtest_logger.domains import ACCOUNT, ORIGIN, Choice, ListOf, OrEmpty, Text, Whole
from speedtest_logger.inventory import kinds
from speedtest_logger.inventory.inputs import DIRECTORY, STATE, Input, Role

USERS = kinds.Entries("a mapping with name, password", User.read, "name")
KEYS = kinds.Entries("a mapping with name, id, sha256, scopes, expires", Key.read, "name", "id")
SHARES = kinds.Entries("a mapping with location, sha256, expires", Share.read, "sha256")

INPUTS = (
    Input(
        "speedtest_dashboard_state",
        "present",
        "present: the archive host shows what it has in a browser. absent: everything is taken off; notes stay unless "
        "speedtest_dashboard_purge.",
        STATE,
    ),
    Input(
        "speedtest_dashboard_purge",
        False,
        "With state absent: true also deletes notes, sessions and what is kept for fast answers. There is no way back.",
        domains.BOOLEAN,
    ),
    Input(
        "speedtest_dashboard_runtime",
        "systemd",
        "How it runs: as a systemd service, or as a container (compose).",
        Choice("systemd", "compose"),
    ),
    Input(
        "speedtest_dashboard_version",
        __version__,
        "Version to run, explicit; the archive's version or a later one.",
        kinds.VERSION,
    ),
    Input(
        "speedtest_dashboard_artifact_dir",
        "{{ role_path | realpath | dirname | dirname }}/dist",
        "Where artifacts are built and kept on the control machine.",
        kinds.CONTROL_PATH,
    ),
    Input(
        "speedtest_dashboard_requirements_file",
        "{{ role_path | realpath | dirname | dirname }}/requirements/dashboard.txt",
        "With the runtime systemd: the hashed lock of the Python packages that the dashboard needs. An image is built "
        "with the lock of its release.",
        kinds.CONTROL_PATH,
    ),
    Input(
        "speedtest_dashboard_bind",
        "127.0.0.1",
        "Address that it listens on. Anything but loopback needs speedtest_dashboard_users.",
        domains.ADDRESS,
    ),
    Input("speedtest_dashboard_port", 8000, "Port that it listens on.", Whole(1024, 65_535)),
    Input(
        "speedtest_dashboard_hosts",
        [],
        "Names under which browsers reach it: others are refused. []: any with users, and only loopback's without.",
        ListOf(domains.HOST, most=100, unique=True),
    ),
    Input(
        "speedtest_dashboard_front",
        "{{ speedtest_front_name | default('') if speedtest_front_state | default('present') == 'present' else '' }}",
        "The name of the web server with TLS before it on the same host, which is believed about whom it asks for. The "
        "role speedtest_front sets it; empty: there is none, and nobody is believed.",
        OrEmpty(domains.HOST),
    ),
    Input(
        "speedtest_dashboard_time_zone",
        "UTC",
        "The zone in which a day begins and clocks are shown.",
        domains.TIMEZONE,
    ),
    Input(
        "speedtest_dashboard_title",
        "Speed tests",
        "What stands above each page.",
        Text("text of 80 characters at most", ".{1,80}"),
    ),
    Input(
        "speedtest_dashboard_users",
        [],
        "Who may log in: name, and password as `speedtest-dashboard hash-password` prints it. []: everybody who "
        "reaches it sees everything.",
        USERS,
        secret=True,
    ),
    Input(
        "speedtest_dashboard_keys",
        [],
        "Keys of programs, as `speedtest-dashboard new-key` prints them.",
        KEYS,
        secret=True,
    ),
    Input(
        "speedtest_dashboard_shares",
        [],
        "Links that show one location's page to whoever has them, as `speedtest-dashboard new-share` prints them.",
        SHARES,
        secret=True,
    ),
    Input(
        "speedtest_dashboard_cors_origins",
        [],
        "Other sites whose pages may ask it in a browser.",
        ListOf(ORIGIN, most=100, unique=True),
    ),
    Input(
        "speedtest_dashboard_log_level",
        "info",
        "From which level on it logs.",
        Choice("debug", "info", "warning", "error"),
    ),
    Input(
        "speedtest_dashboard_user",
        "speedtest-dashboard",
        "Account that it runs as; it is in the archive's group and can write nothing there.",
        ACCOUNT,
    ),
    Input(
        "speedtest_dashboard_dir",
        "/var/lib/speedtest-dashboard",
        "Its own state: notes, sessions, and figures kept for fast answers.",
        DIRECTORY,
    ),
    Input(
        "speedtest_dashboard_install_dir",
        "/opt/speedtest-dashboard",
        "Releases and the Python environment.",
        DIRECTORY,
    ),
    Input(
        "speedtest_dashboard_archive_dir",
        "{{ speedtest_archive_dir | default('/srv/speedtest-archive') }}",
        "The archive that it reads.",
        DIRECTORY,
    ),
    Input(
        "speedtest_dashboard_archive_user",
        "{{ speedtest_archive_user | default('speedtest-archive') }}",
        "The account whose group may read the archive.",
        ACCOUNT,
    ),
    Input(
        "speedtest_dashboard_ingest_interval",
        "{{ speedtest_archive_ingest_interval | default('1min') }}",
        "How often the archive ingests; /health says so where it does not any more.",
        domains.Interval(),
    ),
    Input(
        "speedtest_dashboard_workbench_enabled",
        False,
        "true: free questions in SQL, by Streamlit (570 MB), under /workbench/ for who has logged in. It needs the "
        "group speedtest_front and the runtime systemd. Who has an account on the host can ask it without a login.",
        domains.BOOLEAN,
    ),
    Input(
        "speedtest_dashboard_workbench_port",
        8501,
        "The port of 127.0.0.1 that the workbench listens on.",
        Whole(1024, 65_535),
    ),
    Input(
        "speedtest_dashboard_workbench_requirements_file",
        "{{ role_path | realpath | dirname | dirname }}/requirements/workbench.txt",
        "The hashed lock of the Python packages that the workbench needs.",
        kinds.CONTROL_PATH,
    ),
    Input(
        "speedtest_dashboard_image_source",
        "build",
        "With the runtime compose: how the image gets onto the host. build: made there. pull: from a registry, by "
        "digest. load: from a file on the control machine that `make image` wrote.",
        Choice("build", "pull", "load"),
    ),
    Input(
        "speedtest_dashboard_base_image",
        "debian:trixie-slim",
        "With build: the image to start from.",
        kinds.BASE_IMAGE,
    ),
    Input(
        "speedtest_dashboard_image",
        "",
        "With pull: the image, with its digest, such as registry.example.org/speedtest-dashboard@sha256:….",
        OrEmpty(kinds.IMAGE),
    ),
    Input(
        "speedtest_dashboard_image_archive",
        "{{ speedtest_dashboard_artifact_dir }}/speedtest-dashboard-{{ speedtest_dashboard_version }}.image.tar.gz",
        "With load: the file on the control machine.",
        kinds.CONTROL_PATH,
    ),
)

ROLE = Role("speedtest_dashboard", "The dashboard: pages and an API of what the archive holds", INPUTS)
