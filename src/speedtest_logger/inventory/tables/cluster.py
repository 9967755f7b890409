"""Inputs of the role speedtest_cluster."""

from __future__ import annotations

from speedtest_logger import __version__, domains
from speedtest_logger.domains import ACCOUNT, Choice, ListOf, OrEmpty, Whole
from speedtest_logger.inventory import kinds
from speedtest_logger.inventory.inputs import DIRECTORY, STATE, EntryPoint, Input, Role

SCHEDULER, WORKER = "scheduler", "worker"

INPUTS = (
    Input(
        "speedtest_cluster_state",
        "present",
        "present: the host is a member of the cluster that answers large questions. absent: all of it is taken off.",
        STATE,
    ),
    Input(
        "speedtest_cluster_parts",
        ["worker"],
        "What the host does: scheduler, worker, or both. []: it only asks, as an archive host may. The cluster has "
        "exactly one scheduler.",
        ListOf(Choice(SCHEDULER, WORKER), unique=True),
    ),
    Input(
        "speedtest_cluster_address",
        "127.0.0.1",
        "The host's own address that members reach it by, and the only one that it listens on.",
        domains.ADDRESS,
    ),
    Input(
        "speedtest_cluster_scheduler_address",
        "127.0.0.1",
        "The address of the member that is the scheduler; the same for all members.",
        domains.ADDRESS,
    ),
    Input("speedtest_cluster_port", 8786, "The scheduler's port; the same for all members.", Whole(1024, 65_535)),
    Input("speedtest_cluster_worker_port", 8788, "The worker's port.", Whole(1024, 65_535)),
    Input(
        "speedtest_cluster_threads",
        2,
        "Parts of questions that a worker answers at once, each on a core.",
        Whole(1, 512),
    ),
    Input(
        "speedtest_cluster_memory_mb",
        4096,
        "Memory that the worker may have (2^20 bytes): it is ended above that, and another one does its part.",
        Whole(512, 4_194_304),
    ),
    Input(
        "speedtest_cluster_cache_mb",
        2000,
        "How much of the store's files a worker keeps in /var/cache/speedtest-cluster for the next question (10^6 "
        "bytes); what was used least lately goes first, and questions of more files than that keep none. 0: nothing.",
        Whole(0, 4_194_304),
    ),
    Input(
        "speedtest_cluster_store_endpoint",
        "",
        "Where the object store is reached, such as http://192.0.2.7:8333; empty for AWS.",
        OrEmpty(domains.URL),
    ),
    Input("speedtest_cluster_store_region", "us-east-1", "The bucket's region.", kinds.REGION),
    Input(
        "speedtest_cluster_store_access_key",
        "",
        "The id of a key that may read the bucket, and should do no more, from a vault.",
        OrEmpty(domains.WORD),
        secret=True,
    ),
    Input(
        "speedtest_cluster_store_secret_key", "", "The key itself, from a vault.", OrEmpty(domains.WORD), secret=True
    ),
    Input(
        "speedtest_cluster_version",
        __version__,
        "Version to run, explicit; the same on all members.",
        kinds.VERSION,
    ),
    Input(
        "speedtest_cluster_artifact_dir",
        "{{ role_path | realpath | dirname | dirname }}/dist",
        "Where artifacts are built and kept on the control machine.",
        kinds.CONTROL_PATH,
    ),
    Input(
        "speedtest_cluster_requirements_file",
        "{{ role_path | realpath | dirname | dirname }}/requirements/cluster.txt",
        "The hashed lock of the Python packages, the same on all members: Dask, DuckDB, Arrow and the store's.",
        kinds.CONTROL_PATH,
    ),
    Input("speedtest_cluster_user", "speedtest-cluster", "Account of scheduler and worker.", ACCOUNT),
    Input("speedtest_cluster_install_dir", "/opt/speedtest-cluster", "Release and Python packages.", DIRECTORY),
)

ENTRY_POINTS = (
    EntryPoint(
        "observe", "Compare the host with what the role wants there, change nothing: speedtest_cluster_observed"
    ),
)

ROLE = Role(
    "speedtest_cluster", "A cluster (Dask) that answers questions too large for one machine", INPUTS, ENTRY_POINTS
)
