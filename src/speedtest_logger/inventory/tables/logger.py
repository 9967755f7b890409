"""Inputs of the role speedtest_logger."""

from __future__ import annotations

from speedtest_logger import domains
from speedtest_logger.domains import ACCOUNT, Choice, ListOf, OrEmpty, Whole
from speedtest_logger.inventory import kinds
from speedtest_logger.inventory.inputs import DIRECTORY, MBPS, STATE, Input, Role, of
from speedtest_logger.node import config

ENGINE = Choice(*config.ENGINES)
DOWNLOADS = kinds.Table(
    f"a mapping of engines ({', '.join(config.ENGINES)}) to url, sha256, program", ENGINE, kinds.Download()
)
SLOTS = kinds.Entry(
    {
        "interval_seconds": Whole(60, 86_400),
        "offset_seconds": Whole(0, 86_399),
        "on_calendar": ListOf(kinds.Calendar(), most=1440),
    }
)

INPUTS = (
    Input(
        "speedtest_logger_state",
        "present",
        "present: the node measures. absent: everything is taken off; data and history stay unless "
        "speedtest_logger_purge.",
        STATE,
    ),
    Input(
        "speedtest_logger_purge",
        False,
        "With state absent: true also deletes outbox, history, raw output and log. What was not delivered is lost.",
        domains.BOOLEAN,
    ),
    Input(
        "speedtest_logger_version",
        "0.1.0",
        "Version to run, explicit. Its artifact is built from this checkout or lies in speedtest_logger_artifact_dir.",
        kinds.VERSION,
    ),
    Input(
        "speedtest_logger_artifact_dir",
        "{{ role_path | dirname | dirname }}/dist",
        "Where artifacts are built and kept on the control machine.",
        kinds.CONTROL_PATH,
    ),
    Input(
        "speedtest_logger_upgrade_proved",
        True,
        "true: a release that replaces another one must measure once, or the other one is put back.",
        domains.BOOLEAN,
    ),
    Input(
        "speedtest_logger_line_free_in",
        0,
        "Seconds until the line is free of other nodes' slots, for the measurement that proves a release; "
        "nodes.yml computes it.",
        Whole(0, 172_800),
    ),
    Input(
        "speedtest_logger_runtime",
        "systemd",
        "How the logger runs: systemd (units and timers) or compose (a container; the host needs the role "
        "docker_host).",
        of("runtime"),
    ),
    Input(
        "speedtest_logger_node_name",
        "{{ inventory_hostname | lower | replace('.', '-') | replace('_', '-') }}",
        "Name of the node in the archive: lower-case letters, digits, inner hyphens.",
        of("node"),
    ),
    Input(
        "speedtest_logger_location",
        "unknown-location",
        "The place whose line is measured; a UUID or a short word. Reports group by it.",
        of("location"),
    ),
    Input(
        "speedtest_logger_uplink",
        "",
        "Name of the line that this node shares with others. Nodes on one uplink never measure at the same time.",
        OrEmpty(of("uplink")),
    ),
    Input(
        "speedtest_logger_plan_download_mbps",
        0,
        "What the provider sold (Mbit/s), for reports; 0 = unknown.",
        MBPS,
    ),
    Input(
        "speedtest_logger_plan_upload_mbps",
        0,
        "The same for uploads.",
        MBPS,
    ),
    Input(
        "speedtest_logger_interval",
        "1h",
        "Time between measurements; must divide a day. Public services limit tests: an hour or more is polite.",
        of("interval_seconds"),
    ),
    Input(
        "speedtest_logger_slots",
        (
            "{{ ([dict(node_name=speedtest_logger_node_name, interval=speedtest_logger_interval, "
            "measure_timeout_seconds=speedtest_logger_measure_timeout_seconds, "
            "start_tolerance_seconds=speedtest_logger_start_tolerance_seconds)] | "
            "fleet_slots({}))[speedtest_logger_node_name] }}"
        ),
        "The slots that the fleet's plan gives this node: interval_seconds, offset_seconds, on_calendar. "
        "nodes.yml sets it.",
        SLOTS,
    ),
    Input(
        "speedtest_logger_measure_timeout_seconds",
        180,
        "A measurement, all tries included, is ended after this many seconds.",
        of("measure_timeout_seconds"),
    ),
    Input(
        "speedtest_logger_start_tolerance_seconds",
        30,
        "A slot that would start later than this is skipped (reason late_start), so that uplinks stay free of "
        "overlaps.",
        of("start_tolerance_seconds"),
    ),
    Input(
        "speedtest_logger_duration_seconds",
        10,
        "Length of the test in each direction, for engines that let it be set.",
        of("duration_seconds"),
    ),
    Input(
        "speedtest_logger_engines",
        ["librespeed"],
        "Engines to try, in order: librespeed, iperf3, speedtest_cli, ookla. The first that answers wins; the "
        "record says which.",
        of("engines"),
    ),
    Input(
        "speedtest_logger_librespeed_servers",
        [],
        "LibreSpeed: URLs of your own servers or ids of the public list, used in this order; empty: the "
        "engine chooses. The URL of LibreSpeed's own page, such as http://HOST:8080/, is enough: its back end is "
        "looked for there as it is, with .php, and in backend/.",
        config.engine_domain("librespeed", "servers"),
    ),
    Input(
        "speedtest_logger_librespeed_blocked_servers",
        [],
        "Servers never to use.",
        config.engine_domain("librespeed", "blocked_servers"),
    ),
    Input(
        "speedtest_logger_librespeed_extra_args",
        [],
        "Further arguments for the program.",
        config.engine_domain("librespeed", "extra_args"),
    ),
    Input(
        "speedtest_logger_iperf3_servers",
        [],
        "iperf3: HOST or HOST:PORT of your own servers, used in this order; empty: the engine chooses.",
        config.engine_domain("iperf3", "servers"),
    ),
    Input(
        "speedtest_logger_iperf3_blocked_servers",
        [],
        "Servers never to use.",
        config.engine_domain("iperf3", "blocked_servers"),
    ),
    Input(
        "speedtest_logger_iperf3_extra_args",
        [],
        "Further arguments for the program.",
        config.engine_domain("iperf3", "extra_args"),
    ),
    Input(
        "speedtest_logger_speedtest_cli_servers",
        [],
        "speedtest-cli: server ids, used in this order; empty: the engine chooses.",
        config.engine_domain("speedtest_cli", "servers"),
    ),
    Input(
        "speedtest_logger_speedtest_cli_blocked_servers",
        [],
        "Servers never to use.",
        config.engine_domain("speedtest_cli", "blocked_servers"),
    ),
    Input(
        "speedtest_logger_speedtest_cli_extra_args",
        [],
        "Further arguments for the program.",
        config.engine_domain("speedtest_cli", "extra_args"),
    ),
    Input(
        "speedtest_logger_ookla_servers",
        [],
        "Ookla: server ids, used in this order; empty: the engine chooses.",
        config.engine_domain("ookla", "servers"),
    ),
    Input(
        "speedtest_logger_ookla_blocked_servers",
        [],
        "Servers never to use.",
        config.engine_domain("ookla", "blocked_servers"),
    ),
    Input(
        "speedtest_logger_ookla_extra_args",
        [],
        "Further arguments for the program.",
        config.engine_domain("ookla", "extra_args"),
    ),
    Input(
        "speedtest_logger_own_server_allowed",
        False,
        "true: a server on the node itself may be measured, as to try a fleet of one machine; it says how fast the "
        "machine is, not its line. false: such a slot fails and says so.",
        of("own_server_allowed"),
    ),
    Input(
        "speedtest_logger_ookla_licence_accepted",
        False,
        "true: you accept Ookla's licence and privacy terms for this node (personal, non-commercial use).",
        domains.BOOLEAN,
    ),
    Input(
        "speedtest_logger_downloads",
        {},
        "Engines that the distribution does not package: {ookla: {url: …tgz, sha256: …, program: speedtest}}.",
        DOWNLOADS,
    ),
    Input(
        "speedtest_logger_source_interface",
        "",
        "Measure through this interface.",
        OrEmpty(of("source_interface")),
    ),
    Input(
        "speedtest_logger_source_address",
        "",
        "Measure from this address.",
        OrEmpty(of("source_address")),
    ),
    Input(
        "speedtest_logger_ip_family",
        "auto",
        "Measure with IPv4 or IPv6 only; auto: as the engine likes.",
        of("ip_family"),
    ),
    Input(
        "speedtest_logger_quiet_hours",
        [],
        'Windows without measurements, such as "22:00-06:00", in speedtest_logger_timezone. Each skipped slot '
        "is a record.",
        of("quiet_hours"),
    ),
    Input(
        "speedtest_logger_timezone",
        "UTC",
        "Time zone of the line: of speedtest_logger_quiet_hours, and of the clocks in its reports.",
        of("timezone"),
    ),
    Input(
        "speedtest_logger_paused",
        False,
        "true: every slot is skipped, with a record.",
        of("paused"),
    ),
    Input(
        "speedtest_logger_busy_mbps",
        0,
        "Skip while the line already carries this much (Mbit/s); 0 = never.",
        of("busy_mbps"),
    ),
    Input(
        "speedtest_logger_busy_window_seconds",
        3,
        "How long the line is watched for speedtest_logger_busy_mbps (seconds).",
        of("busy_window_seconds"),
    ),
    Input(
        "speedtest_logger_data_budget_gb",
        0,
        "Most data that a calendar month's measurements may cost (10^9 bytes); 0 = no limit.",
        of("data_budget_gb"),
    ),
    Input(
        "speedtest_logger_external_ip",
        "full",
        "How much of the public address is kept: full, shortened, none.",
        of("external_ip"),
    ),
    Input(
        "speedtest_logger_isp_enabled",
        True,
        "false: the provider's name is not kept.",
        of("isp_enabled"),
    ),
    Input(
        "speedtest_logger_outbox_max_mb",
        128,
        "Most disk that undelivered records may take (10^6 bytes); how many had to go then is told in one record. "
        "128 MB hold some 31,000 records: 108 days without an archive at 5 minutes, 3 1/2 years at 1 hour.",
        of("outbox_max_mb"),
    ),
    Input(
        "speedtest_logger_disk_min_free_mb",
        50,
        "With less free disk than this (10^6 bytes) slots are skipped, with a record.",
        of("disk_min_free_mb"),
    ),
    Input(
        "speedtest_logger_history_days",
        400,
        "How long the local CSV history is kept (days).",
        of("history_days"),
    ),
    Input(
        "speedtest_logger_raw_days",
        30,
        "How long the engines' own words are kept (days).",
        of("raw_days"),
    ),
    Input(
        "speedtest_logger_push_interval",
        "5min",
        "What a delivery after each measurement left behind is tried again this often; must divide a day.",
        of("push_interval_seconds"),
    ),
    Input(
        "speedtest_logger_archive_address",
        "",
        "Where nodes reach the archive host; nodes.yml takes it from the inventory. Empty: records stay on the node.",
        OrEmpty(of("archive_host")),
    ),
    Input(
        "speedtest_logger_archive_port",
        22,
        "The archive host's ssh port; nodes.yml takes it from the inventory.",
        of("archive_port"),
    ),
    Input(
        "speedtest_logger_archive_user",
        "speedtest-archive",
        "The archive host's account that receives; nodes.yml takes it from the inventory.",
        of("archive_user"),
    ),
    Input(
        "speedtest_logger_archive_raw",
        False,
        "true: the engines' own words are delivered too, with the public address and the provider that they tell.",
        of("archive_raw"),
    ),
    Input(
        "speedtest_logger_archive_host_key",
        "",
        "The archive host's public key, which nodes pin; nodes.yml reads it from the host.",
        OrEmpty(kinds.HOST_KEY),
    ),
    Input(
        "speedtest_logger_stayawake_enabled",
        False,
        "true: the machine does not go to sleep (a unit that holds systemd's sleep inhibitor).",
        domains.BOOLEAN,
    ),
    Input(
        "speedtest_logger_user",
        "speedtest",
        "Account that measures and delivers; it owns the data and can do nothing else.",
        ACCOUNT,
    ),
    Input(
        "speedtest_logger_install_dir",
        "/opt/speedtest-telemetry",
        "Releases, and the link `current` to the one that runs.",
        DIRECTORY,
    ),
    Input(
        "speedtest_logger_config_dir",
        "/etc/speedtest-telemetry",
        "logger.env, the node's key pair, the archive's host key.",
        DIRECTORY,
    ),
    Input(
        "speedtest_logger_state_dir",
        "/var/lib/speedtest-telemetry",
        "Outbox, history, raw output, refused records.",
        DIRECTORY,
    ),
    Input(
        "speedtest_logger_log_dir",
        "/var/log/speedtest-telemetry",
        "The diagnostics log; /var/log/speedtest-diag.log points to it.",
        DIRECTORY,
    ),
    Input(
        "speedtest_logger_uid",
        471,
        "The account's number, the same in a container's image; its group has the same number.",
        Whole(100, 60_000),
    ),
    Input(
        "speedtest_logger_image_source",
        "build",
        "With the runtime compose: how the image gets onto the node. build: made there. pull: from a "
        "registry, by digest. load: from a file on the control machine that `make image` wrote.",
        Choice("build", "pull", "load"),
    ),
    Input(
        "speedtest_logger_base_image",
        "debian:trixie-slim",
        "With build: the image to start from.",
        kinds.BASE_IMAGE,
    ),
    Input(
        "speedtest_logger_image",
        "",
        "With pull: the image, with its digest, such as registry.example.org/speedtest-logger@sha256:….",
        OrEmpty(kinds.IMAGE),
    ),
    Input(
        "speedtest_logger_image_archive",
        ("{{ speedtest_logger_artifact_dir }}/speedtest-logger-{{ speedtest_logger_version }}.image.tar.gz"),
        "With load: the file on the control machine.",
        kinds.CONTROL_PATH,
    ),
    Input(
        "speedtest_logger_container_network",
        "host",
        "The container's network: host (a bridge costs speed near 1 Gbit/s), or bridge.",
        Choice("host", "bridge"),
    ),
    Input(
        "speedtest_logger_container_memory",
        "256m",
        "The container's memory at most.",
        kinds.MEMORY,
    ),
    Input(
        "speedtest_logger_container_pids",
        128,
        "The container's processes at most.",
        Whole(16, 100_000),
    ),
)

ROLE = Role("speedtest_logger", "A node: measures its line on schedule, keeps every result, delivers it", INPUTS)
