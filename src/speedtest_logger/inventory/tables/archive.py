"""Inputs of the role speedtest_archive."""

from __future__ import annotations

from dataclasses import fields

from speedtest_logger import __version__, domains
from speedtest_logger.alerts import destinations
from speedtest_logger.archive.arrive.limits import Limits
from speedtest_logger.domains import ACCOUNT, ListOf, OrEmpty, Whole
from speedtest_logger.inventory import kinds
from speedtest_logger.inventory.inputs import COMMAND_LINES, DIRECTORY, STATE, EntryPoint, Input, Role

DAYS = Whole(0, 36_500)
KEEP = Whole(0, 10_000)
ENVIRONMENT = kinds.Table("a mapping of variables to text", kinds.VARIABLE, domains.WORD)

INPUTS = (
    Input(
        "speedtest_archive_state",
        "present",
        "present: the host is the archive. absent: everything is taken off; the data stay unless "
        "speedtest_archive_purge.",
        STATE,
    ),
    Input(
        "speedtest_archive_purge",
        False,
        "With state absent: true also deletes the inbox, the Parquet files and the quarantine. There is no way back.",
        domains.BOOLEAN,
    ),
    Input(
        "speedtest_archive_version",
        __version__,
        "Version to run, explicit; the nodes' version or a later one.",
        kinds.VERSION,
    ),
    Input(
        "speedtest_archive_artifact_dir",
        "{{ role_path | realpath | dirname | dirname }}/dist",
        "Where artifacts are built and kept on the control machine.",
        kinds.CONTROL_PATH,
    ),
    Input(
        "speedtest_archive_requirements_file",
        "{{ role_path | realpath | dirname | dirname }}/requirements/archive.txt",
        "The hashed lock of the Python packages that the archive needs.",
        kinds.CONTROL_PATH,
    ),
    Input(
        "speedtest_archive_ingest_interval",
        "1min",
        "How often receipted records move from the inbox into the Parquet files; must divide a day.",
        domains.Interval(),
    ),
    Input(
        "speedtest_archive_user",
        "speedtest-archive",
        "Account that nodes log into; its keys can only receive.",
        ACCOUNT,
    ),
    Input(
        "speedtest_archive_install_dir",
        "/opt/speedtest-archive",
        "Releases and the Python environment.",
        DIRECTORY,
    ),
    Input(
        "speedtest_archive_home_dir",
        "/var/lib/speedtest-archive",
        "The account's home, with authorized_keys.",
        DIRECTORY,
    ),
    Input(
        "speedtest_archive_dir",
        "/srv/speedtest-archive",
        "The archive: inbox, Parquet files, manifest, quarantine, state.",
        DIRECTORY,
    ),
    Input(
        "speedtest_archive_https_enabled",
        False,
        "true: it also takes what nodes with speedtest_logger_transport https deliver, through the front on this host.",
        domains.BOOLEAN,
    ),
    Input(
        "speedtest_archive_invitations_enabled",
        False,
        "true: a machine that invite.yml has invited becomes a node by itself, through the front on this host.",
        domains.BOOLEAN,
    ),
    Input(
        "speedtest_archive_keep_days",
        0,
        "Months that ended longer ago are removed, each night and as a whole; 0 keeps them for ever.",
        DAYS,
    ),
    Input(
        "speedtest_archive_keep_size",
        "",
        "The oldest months beyond this size are removed, such as 500MB or 20GB; empty: no limit.",
        OrEmpty(kinds.SIZE),
    ),
    Input(
        "speedtest_archive_keep_raw_days",
        365,
        "Raw output (of nodes with speedtest_logger_archive_raw) of days longer ago is removed; 0 keeps it for ever.",
        DAYS,
    ),
    Input(
        "speedtest_archive_keep_log_days",
        30,
        "Lines of nodes' logs that came in longer ago are removed, each night and by the day; 0 keeps them for ever.",
        DAYS,
    ),
    Input(
        "speedtest_archive_keep_probe_days",
        400,
        "Results of nodes' probes (speedtest_logger_probes) of days longer ago are removed, each night and by the day; "
        "0 keeps them for ever.",
        DAYS,
    ),
    Input(
        "speedtest_archive_upkeep_calendar",
        "*-*-* 04:40:00 UTC",
        "When, as a calendar expression (systemd.time(7)).",
        kinds.Calendar(),
    ),
    Input(
        "speedtest_archive_backup_repository",
        "",
        "Where restic saves the archive to: a directory of the host, sftp:user@host:/path or "
        "s3:https://host/bucket. Empty: nowhere.",
        OrEmpty(kinds.REPOSITORY),
    ),
    Input(
        "speedtest_archive_backup_password",
        "",
        "The repository's password, from a vault. Whoever loses it loses the backups.",
        OrEmpty(domains.WORD),
        secret=True,
    ),
    Input(
        "speedtest_archive_backup_environment",
        {},
        "restic's other variables, from a vault: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for an S3 bucket.",
        ENVIRONMENT,
        secret=True,
    ),
    Input(
        "speedtest_archive_backup_options",
        [],
        'restic\'s -o options, such as "sftp.command=ssh -i /path/key -o BatchMode=yes user@host -s sftp".',
        ListOf(kinds.OPTION, most=100),
    ),
    Input(
        "speedtest_archive_backup_calendar",
        "*-*-* 03:40:00 UTC",
        "When, as a calendar expression (systemd.time(7)).",
        kinds.Calendar(),
    ),
    Input(
        "speedtest_archive_backup_keep_daily",
        7,
        "How many snapshots stay: the last of so many days, weeks and months.",
        KEEP,
    ),
    Input(
        "speedtest_archive_backup_keep_weekly",
        5,
        "See speedtest_archive_backup_keep_daily.",
        KEEP,
    ),
    Input(
        "speedtest_archive_backup_keep_monthly",
        24,
        "See speedtest_archive_backup_keep_daily.",
        KEEP,
    ),
    Input(
        "speedtest_archive_store_address",
        "",
        "Where the records are published as a Delta table that other engines read: s3://BUCKET/FOLDER, or a directory "
        "of the host. Empty: nowhere.",
        OrEmpty(kinds.PLACE),
    ),
    Input(
        "speedtest_archive_store_endpoint",
        "",
        "The server of an s3:// address, such as https://s3.example.org or http://127.0.0.1:8333; empty: AWS.",
        OrEmpty(domains.ORIGIN),
    ),
    Input(
        "speedtest_archive_store_region",
        "us-east-1",
        "The bucket's region; what a store of your own is told does not matter.",
        kinds.REGION,
    ),
    Input(
        "speedtest_archive_store_access_key",
        "",
        "The id of the key that may read and write the bucket, from a vault.",
        OrEmpty(domains.WORD),
        secret=True,
    ),
    Input(
        "speedtest_archive_store_secret_key",
        "",
        "The key itself, from a vault.",
        OrEmpty(domains.WORD),
        secret=True,
    ),
    Input(
        "speedtest_archive_store_buckets",
        16,
        "In how many parts a new table has each month, by a hash of the location: 16 for 10,000 nodes, 256 for a "
        "million.",
        Whole(1, 4096),
    ),
    Input(
        "speedtest_archive_store_calendar",
        "*-*-* *:*:40",
        "When it is published, as a calendar expression (systemd.time(7)).",
        kinds.Calendar(),
    ),
    Input(
        "speedtest_archive_store_upkeep_calendar",
        "*-*-* 05:10:00 UTC",
        "When small files are put together, and old ones removed (systemd.time(7)).",
        kinds.Calendar(),
    ),
    Input(
        "speedtest_archive_store_tree",
        "",
        "Where records of days that are over are kept as plain Parquet files too, uploads/location=…/year=…/month=…/"
        "day=…/speedtest_NNN.parquet, for what reads no Delta: s3://BUCKET, s3://BUCKET/FOLDER, or a directory of the "
        "host, outside the table's. Empty: nowhere.",
        OrEmpty(kinds.PLACE),
    ),
    Input(
        "speedtest_archive_store_tree_results",
        False,
        "true: runs of days that are not over lie there as CSV, results/…/speedtest_HH-MM-SS.csv: an object for each "
        "second in which one began.",
        domains.BOOLEAN,
    ),
    Input(
        "speedtest_archive_store_requirements_file",
        "{{ role_path | realpath | dirname | dirname }}/requirements/store.txt",
        "The hashed lock of the Python packages that an archive which publishes needs: the archive's, and its own.",
        kinds.CONTROL_PATH,
    ),
    Input(
        "speedtest_archive_shared",
        False,
        "true: this host shares the archive with the other hosts of its group, in the store of "
        "speedtest_archive_store_address: nodes deliver to any of them.",
        domains.BOOLEAN,
    ),
    Input(
        "speedtest_archive_shared_name",
        "{{ inventory_hostname | lower | replace('.', '-') | replace('_', '-') }}",
        "This host's name among them.",
        domains.IDENTIFIER,
    ),
    Input(
        "speedtest_archive_alerts_destinations",
        [],
        "Who is told what is wrong: a list, each item with name and url (Apprise's, from a vault), and if wanted "
        "severity, locations, nodes, rules, quiet, passes, timezone, digest, reminder_hours. []: nobody is.",
        kinds.Entries("a mapping with name, url and what it wants to hear", destinations.read, "name"),
        secret=True,
    ),
    Input(
        "speedtest_archive_alerts_rules",
        {},
        "What differs from the rules' defaults for the whole fleet, such as {below_plan: {percent: 60}, loss: true}; "
        "speedtest_logger_alerts changes it for nodes.",
        kinds.AlertRules("a mapping of rules"),
    ),
    Input(
        "speedtest_archive_alerts_grace_seconds",
        300,
        "How long after a slot its record may arrive until the slot counts as missed.",
        Whole(60, 86_400),
    ),
    Input(
        "speedtest_archive_alerts_heartbeat_url",
        "",
        "Asked for after each good evaluation: where it stays away, an outside watcher shouts. From a vault.",
        OrEmpty(domains.URL),
        secret=True,
    ),
    Input(
        "speedtest_archive_alerts_link",
        "",
        "Where the dashboard is reached, such as https://speed.example.org: messages link there.",
        OrEmpty(domains.URL),
    ),
)

# What one node may cost: the archive's own list.
LIMITS = tuple(
    Input(
        f"speedtest_archive_limit_{limit.name}",
        limit.default,
        limit.metadata["text"],
        Whole(limit.metadata["least"], limit.metadata["most"]),
    )
    for limit in fields(Limits)
)

ENTRY_POINTS = (
    EntryPoint(
        "observe",
        "Compare the host with what the role wants there, change nothing: speedtest_archive_observed",
        (
            Input(
                "speedtest_archive_programs",
                [],
                "Programs to run there besides; what they print is in speedtest_archive_observed.programs.",
                COMMAND_LINES,
            ),
        ),
    ),
)

ROLE = Role(
    "speedtest_archive", "The archive host: receives, ingests, answers questions", (*INPUTS, *LIMITS), ENTRY_POINTS
)
