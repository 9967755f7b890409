"""Inputs of the role speedtest_database."""

from __future__ import annotations

from speedtest_logger import __version__, domains
from speedtest_logger.domains import ACCOUNT, OrEmpty, Text, Whole
from speedtest_logger.inventory import kinds
from speedtest_logger.inventory.inputs import DIRECTORY, STATE, Input, Role

DSN = Text(
    "an address such as postgresql://speedtest:PASSWORD@db.example.org:5432/speedtest",
    r"postgres(ql)?://[^\s'\"\\]+",
)
PASSWORD = Text(
    "a password of 16 characters at least that nobody guesses, such as `openssl rand -base64 24` prints",
    r"\S{16,200}",
    lambda text: not kinds.is_guessed(text),
)

INPUTS = (
    Input(
        "speedtest_database_state",
        "present",
        "present: the archive's records are in a PostgreSQL database too, which follows it each minute. absent: "
        "everything is taken off; Debian's packages, the database and its dumps stay unless speedtest_database_purge.",
        STATE,
    ),
    Input(
        "speedtest_database_purge",
        False,
        "With state absent: true also deletes the database and its dumps. The archive has all that is in it.",
        domains.BOOLEAN,
    ),
    Input(
        "speedtest_database_version",
        __version__,
        "Version to run, explicit; the archive's version or a later one.",
        kinds.VERSION,
    ),
    Input(
        "speedtest_database_artifact_dir",
        "{{ role_path | realpath | dirname | dirname }}/dist",
        "Where artifacts are built and kept on the control machine.",
        kinds.CONTROL_PATH,
    ),
    Input(
        "speedtest_database_requirements_file",
        "{{ role_path | realpath | dirname | dirname }}/requirements/database.txt",
        "The hashed lock of the Python packages that it needs.",
        kinds.CONTROL_PATH,
    ),
    Input(
        "speedtest_database_dsn",
        "",
        "The database of a server elsewhere, from a vault: its user owns the database, and may make another one, in "
        "which dumps are proved. Empty: Debian's PostgreSQL runs on this host, on a socket that no network reaches.",
        OrEmpty(DSN),
        secret=True,
    ),
    Input(
        "speedtest_database_reader_password",
        "",
        "The password of speedtest_reader, who reads all tables and changes none, from a vault. Empty: nobody but the "
        "sink may log in. With speedtest_database_dsn you make the reader yourself.",
        OrEmpty(PASSWORD),
        secret=True,
    ),
    Input(
        "speedtest_database_keep_months",
        0,
        "How many months are in the database, the current one among them; the archive keeps what it keeps. 0: all.",
        Whole(0, 1200),
    ),
    Input(
        "speedtest_database_timescale_enabled",
        False,
        "true: the records are a hypertable of TimescaleDB, and not in a partition for each month. On this host it is "
        "Debian 13's package; with speedtest_database_dsn the server there has to load it. After a change "
        "`speedtest-database sync --rebuild` makes the tables anew.",
        domains.BOOLEAN,
    ),
    Input(
        "speedtest_database_timeout_seconds",
        120,
        "How long a statement may take. A sync that fails is tried again a minute later, and nothing waits for it.",
        Whole(1, 3600),
    ),
    Input(
        "speedtest_database_dump_calendar",
        "*-*-* 03:10:00 UTC",
        "When the database is dumped; each dump is proved by a restore. Backups of the archive carry dumps away.",
        kinds.Calendar(),
    ),
    Input("speedtest_database_dump_keep", 7, "How many dumps stay.", Whole(1, 1000)),
    Input(
        "speedtest_database_shared_buffers_mb",
        128,
        "Memory that the server on this host keeps tables in.",
        Whole(16, 65_536),
    ),
    Input(
        "speedtest_database_user",
        "speedtest-database",
        "Account of the sink; it is in the archive's group and can write nothing there but its own state and dumps.",
        ACCOUNT,
    ),
    Input(
        "speedtest_database_dir",
        "/var/lib/speedtest-database",
        "Where the server on this host keeps the database.",
        DIRECTORY,
    ),
    Input(
        "speedtest_database_install_dir",
        "/opt/speedtest-database",
        "Releases and the Python environment.",
        DIRECTORY,
    ),
    Input(
        "speedtest_database_archive_dir",
        "{{ speedtest_archive_dir | default('/srv/speedtest-archive') }}",
        "The archive that it follows.",
        DIRECTORY,
    ),
    Input(
        "speedtest_database_archive_user",
        "{{ speedtest_archive_user | default('speedtest-archive') }}",
        "The account whose group may read the archive.",
        ACCOUNT,
    ),
)

ROLE = Role("speedtest_database", "The archive in PostgreSQL: a sink that follows it, and proved dumps", INPUTS)
