"""Inputs of the role speedtest_logger."""

from __future__ import annotations

from speedtest_logger import __version__, domains
from speedtest_logger.domains import ACCOUNT, Choice, ListOf, OrEmpty, Whole
from speedtest_logger.engines.catalogue import ENGINES
from speedtest_logger.inventory import kinds, settings
from speedtest_logger.inventory.inputs import COMMAND_LINES, DIRECTORY, STATE, EntryPoint, Input, Role

ENGINE = Choice(*ENGINES)
DOWNLOADS = kinds.Table(
    f"a mapping of engines ({', '.join(ENGINES)}) to url, sha256, program", ENGINE, kinds.Download()
)
SLOTS = kinds.Entry(
    {
        "interval_seconds": Whole(60, 86_400),
        "offset_seconds": Whole(0, 86_399),
        "on_calendar": ListOf(kinds.Calendar(), most=1440),
    }
)

# What only an inventory has; the rest is the node's settings.
BEFORE = (
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
        __version__,
        "Version to run, explicit. Its artifact is built from this checkout or lies in speedtest_logger_artifact_dir.",
        kinds.VERSION,
    ),
    Input(
        "speedtest_logger_artifact_dir",
        "{{ role_path | realpath | dirname | dirname }}/dist",
        "Where artifacts are built and kept on the control machine.",
        kinds.CONTROL_PATH,
    ),
    Input(
        "speedtest_logger_alerts",
        {},
        "What differs from speedtest_archive_alerts_rules for this node (or, in a group's variables, its location), "
        "such as {below_plan: {percent: 50}, silent_node: false}.",
        kinds.AlertRules("a mapping of rules"),
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
)
AFTER = (
    Input(
        "speedtest_logger_slots",
        (
            "{{ ([dict(node_name=speedtest_logger_node_name, interval=speedtest_logger_interval, "
            "measure_timeout_seconds=speedtest_logger_measure_timeout_seconds, "
            "start_tolerance_seconds=speedtest_logger_start_tolerance_seconds)] | "
            "speedtest.telemetry.fleet_slots({}))[speedtest_logger_node_name] }}"
        ),
        "The slots that the fleet's plan gives this node: interval_seconds, offset_seconds, on_calendar. "
        "nodes.yml sets it.",
        SLOTS,
    ),
    Input(
        "speedtest_logger_downloads",
        {},
        "Engines that the distribution does not package: {ookla: {url: …tgz, sha256: …, program: speedtest}}.",
        DOWNLOADS,
    ),
    Input(
        "speedtest_logger_archive_host_key",
        "",
        "The archive host's public key, which nodes pin; nodes.yml reads it from the host.",
        OrEmpty(kinds.HOST_KEY),
    ),
    Input(
        "speedtest_logger_archive_other_keys",
        [],
        "The public host keys of speedtest_logger_archive_others, in their order; nodes.yml takes them from the "
        "inventory.",
        ListOf(kinds.HOST_KEY, most=100),
    ),
    Input(
        "speedtest_logger_converge",
        "push",
        "push: site.yml brings the node. pull: it brings itself to what playbooks/bundle.yml signs for it, and only "
        "enrol.yml and remove.yml open a connection to it (docs/how-to/nodes-behind-nat.md).",
        Choice("push", "pull"),
    ),
    Input(
        "speedtest_logger_pull_url",
        "",
        "With pull: where bundles are served, such as https://bundles.example.org/fleet or file:///media/bundles.",
        OrEmpty(kinds.SERVED),
    ),
    Input(
        "speedtest_logger_pull_signers",
        [],
        "With pull: the public keys (ssh-ed25519 AAAA…) of those who may sign the node's bundle; two while one "
        "replaces the other.",
        ListOf(kinds.SIGNER, most=8),
    ),
    Input(
        "speedtest_logger_pull_interval_seconds",
        1800,
        "With pull: how often the node looks for a new bundle, up to a fifth later.",
        Whole(60, 86_400),
    ),
    Input(
        "speedtest_logger_identity",
        "",
        "With the runtime kubernetes: what the container `identity` of the node's pod has printed, its public key or "
        "the SHA-256 of its token; playbooks/kubernetes.yml has the archive let it in.",
        OrEmpty(kinds.IDENTITY),
    ),
    Input(
        "speedtest_logger_machine",
        "",
        "With the runtime kubernetes: the cluster's machine that is behind the line (kubernetes.io/hostname). "
        "Empty: any.",
        OrEmpty(domains.HOST),
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
        "With pull, and with the runtime kubernetes: the image, with its digest, such as "
        "registry.example.org/speedtest-logger@sha256:….",
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
INPUTS = (*BEFORE, *settings.inputs(), *AFTER)

ENTRY_POINTS = (
    EntryPoint(
        "observe",
        "Compare the node with what the role wants there, change nothing: speedtest_logger_observed",
        (
            Input(
                "speedtest_logger_programs",
                [],
                "Programs to run there besides; what they print is in speedtest_logger_observed.programs.",
                COMMAND_LINES,
            ),
        ),
    ),
    EntryPoint(
        "identity", "Compare the node as observe does; one that has no key pair gets one, before the archive lets it in"
    ),
    EntryPoint(
        "put_back",
        "The node goes back to a release that lies on it already",
        (
            Input("speedtest_logger_put_back", ..., "The release to go back to.", kinds.VERSION),
            Input(
                "speedtest_logger_discard",
                False,
                "true: the release that ran until then does not stay on the node.",
                domains.Boolean(),
            ),
        ),
    ),
    EntryPoint("stop", "The node measures no more; a measurement under way leaves its record in the outbox"),
)

ROLE = Role(
    "speedtest_logger", "A node: measures its line on schedule, keeps every result, delivers it", INPUTS, ENTRY_POINTS
)
