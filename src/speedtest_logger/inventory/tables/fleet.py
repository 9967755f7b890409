"""What the playbooks take from the inventory or from -e, beside the roles' inputs."""

from __future__ import annotations

from speedtest_logger import domains
from speedtest_logger.domains import Choice, Whole
from speedtest_logger.inventory import kinds
from speedtest_logger.inventory.inputs import DIRECTORY, Input, Role

ROLE = Role(
    "fleet",
    "What the playbooks take from the inventory, or from -e",
    (
        Input(
            "fleet_environment",
            "development",
            "Which environment an inventory is of, for all of its hosts. staging, production: a secret that lies in "
            "clear in a file of the inventory is refused.",
            Choice("development", "staging", "production"),
        ),
        Input(
            "fleet_archive_address",
            ...,
            "On the archive host: where nodes reach it, where that differs from ansible_host.",
            domains.HOST,
        ),
        Input(
            "fleet_archive_port",
            ...,
            "On the archive host: its ssh port for nodes, where that differs from ansible_port.",
            Whole(1, 65_535, texts=True),
        ),
        Input(
            "fleet_archive_host_key",
            ...,
            "On the archive host: the host key that nodes pin; unset: read from the host.",
            kinds.HOST_KEY,
        ),
        Input(
            "fleet_archive_ca",
            ...,
            "On the archive host: the certificates (PEM) by which nodes that deliver over https trust its front; "
            "unset: those of the front's own authority, else the nodes' systems'.",
            kinds.CERTIFICATES,
        ),
        Input(
            "speedtest_upgrade_batches",
            [1, "20%"],
            "How many nodes get another release at a time, batch by batch.",
            kinds.BATCHES,
        ),
        Input(
            "speedtest_pull_signing_key",
            ...,
            "For bundle.yml: the file of the private key that signs bundles, on the control machine. For one with a "
            "passphrase ssh-agent is asked.",
            kinds.CONTROL_PATH,
        ),
        Input(
            "speedtest_pull_dir",
            ...,
            "For bundle.yml: the folder of the control machine into which bundles and releases are written; unset: "
            "dist/bundles in the checkout.",
            kinds.CONTROL_PATH,
        ),
        Input(
            "speedtest_pull_served_dir",
            ...,
            "On the archive host: the directory whose files are served at speedtest_logger_pull_url; bundle.yml copies "
            "them there. Unset: whoever runs bundle.yml brings them where they are served.",
            DIRECTORY,
        ),
        Input(
            "speedtest_pull_valid_days",
            30,
            "For bundle.yml: how long a bundle is taken after it was made. A node that gets no newer one stays as it "
            "is.",
            Whole(1, 3650, texts=True),
        ),
        Input(
            "speedtest_invitation_hours",
            24,
            "For invite.yml: how long an invitation is open.",
            Whole(1, 720, texts=True),
        ),
        Input(
            "speedtest_kubernetes_values",
            ...,
            "For kubernetes.yml: the file of the control machine into which the chart's values are written; unset: "
            "dist/kubernetes/values.yaml in the checkout.",
            kinds.CONTROL_PATH,
        ),
        Input(
            "speedtest_purge",
            False,
            "For remove.yml: true also deletes the data; there is no way back.",
            domains.AnyOf(domains.BOOLEAN, Choice("true", "false")),
        ),
        Input(
            "speedtest_snapshot",
            "latest",
            "For restore.yml: the backup's snapshot to bring back.",
            domains.Text("a snapshot's id, or latest", "latest|[0-9a-f]{4,64}"),
        ),
        Input(
            "speedtest_lock_wait_seconds",
            0,
            "How long a run waits for another one that is changing the fleet to end.",
            Whole(0, 86_400, texts=True),
        ),
        Input(
            "speedtest_break_lock",
            False,
            "true: go on although another run seems to be changing the fleet; for a run that died on another machine.",
            domains.AnyOf(domains.BOOLEAN, Choice("true", "false")),
        ),
        Input(
            "speedtest_status_timeout_seconds",
            60,
            "How long status.yml waits for a machine before it shows it as slow.",
            Whole(1, 3600, texts=True),
        ),
        Input(
            "ansible_host",
            ...,
            "Ansible's own: where a machine is reached. Nodes reach the archive host there too.",
            domains.HOST,
        ),
        Input("ansible_port", ..., "Ansible's own: a machine's ssh port.", Whole(1, 65_535, texts=True)),
    ),
)
