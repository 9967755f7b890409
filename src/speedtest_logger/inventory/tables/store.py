"""Inputs of the role speedtest_store."""

from __future__ import annotations

from speedtest_logger import domains
from speedtest_logger.domains import ACCOUNT, OrEmpty, Text, Whole
from speedtest_logger.inventory import kinds
from speedtest_logger.inventory.inputs import DIRECTORY, STATE, EntryPoint, Input, Role

KEY = Text("letters, digits and ._+/=-", "[A-Za-z0-9._+/=-]{3,128}")
BUCKET = Text(
    "a bucket's name: 3 to 63 lower-case letters, digits and inner hyphens", "[a-z0-9][a-z0-9-]{1,61}[a-z0-9]"
)

INPUTS = (
    Input(
        "speedtest_store_state",
        "present",
        "present: the host has an object store. absent: it is taken off; its objects stay unless "
        "speedtest_store_purge.",
        STATE,
    ),
    Input(
        "speedtest_store_purge",
        False,
        "With state absent: true also deletes all objects. There is no way back.",
        domains.BOOLEAN,
    ),
    Input(
        "speedtest_store_requirements_file",
        "{{ role_path | realpath | dirname | dirname }}/requirements/seaweedfs.txt",
        "The hashed lock of the package with SeaweedFS's program.",
        kinds.CONTROL_PATH,
    ),
    Input(
        "speedtest_store_listen",
        "127.0.0.1",
        "Address that S3 is answered on, over plain http: keys are never sent, data are not encrypted. Another one "
        "than the host's own needs a network that you trust.",
        domains.ADDRESS,
    ),
    Input(
        "speedtest_store_port",
        8333,
        "Port that S3 is answered on. The three after it, and all four plus 10000, are its own parts', on loopback.",
        Whole(1024, 55_000),
    ),
    Input(
        "speedtest_store_bucket",
        "measurements",
        "The bucket that is made, and the only one that the key opens.",
        BUCKET,
    ),
    Input(
        "speedtest_store_access_key",
        "",
        "The id of the key that may read and write the bucket, from a vault.",
        OrEmpty(KEY),
        secret=True,
    ),
    Input(
        "speedtest_store_secret_key",
        "",
        "The key itself, 20 characters or more, from a vault: `openssl rand -hex 20` makes one.",
        OrEmpty(KEY),
        secret=True,
    ),
    Input(
        "speedtest_store_max_gb",
        20,
        "Space that objects may take (10^9 bytes, about); nothing is written that does not fit.",
        Whole(5, 100_000),
    ),
    Input("speedtest_store_user", "speedtest-store", "Account of the store.", ACCOUNT),
    Input("speedtest_store_install_dir", "/opt/speedtest-store", "SeaweedFS's program.", DIRECTORY),
    Input("speedtest_store_dir", "/srv/speedtest-store", "The objects.", DIRECTORY),
)

ENTRY_POINTS = (
    EntryPoint("observe", "Compare the host with what the role wants there, change nothing: speedtest_store_observed"),
)

ROLE = Role("speedtest_store", "An object store for S3 of one's own: SeaweedFS with one bucket", INPUTS, ENTRY_POINTS)
