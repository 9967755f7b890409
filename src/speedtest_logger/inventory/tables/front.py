"""Inputs of the role speedtest_front."""

from __future__ import annotations

from speedtest_logger import domains
from speedtest_logger.domains import Choice, OrEmpty, Text, Whole
from speedtest_logger.inventory import kinds
from speedtest_logger.inventory.inputs import STATE, Input, Role

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
_LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
NAME = Text(
    "a host's name in lower case such as speed.example.org",
    rf"(?=.{{1,253}}$)(?=.*[a-z]){_LABEL}(\.{_LABEL})*",
    lambda name: name != "localhost",
)
ADDRESS = Text("an e-mail address", r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
DIRECTORY = Text("a URL such as https://acme.example.org/directory", r"https://[!-z~]+", domains.is_url)

INPUTS = (
    Input(
        "speedtest_front_state",
        "present",
        "present: browsers reach the dashboard over https under a name of its own. absent: the front is taken off; its "
        "certificates and keys stay unless speedtest_front_purge.",
        STATE,
    ),
    Input(
        "speedtest_front_purge",
        False,
        "With state absent: true also deletes certificates, keys and the internal authority, which devices may trust. "
        "There is no way back.",
        domains.BOOLEAN,
    ),
    Input(
        "speedtest_front_name",
        "",
        "The name that browsers ask for; whatever asks for another one is refused. It must lead to this host.",
        OrEmpty(NAME),
    ),
    Input(
        "speedtest_front_tls",
        "internal",
        "Where the certificate comes from. internal: an authority of the front's own, which your devices have to trust "
        "once. acme: a public authority such as Let's Encrypt, or an ACME server of your own. files: two of yours.",
        Choice("internal", "acme", "files"),
    ),
    Input(
        "speedtest_front_acme_directory",
        LETS_ENCRYPT,
        "With tls acme: the ACME server. It must reach this host's port 80 under speedtest_front_name.",
        DIRECTORY,
    ),
    Input(
        "speedtest_front_acme_email",
        "",
        "With tls acme: whom the authority may write to. Empty: nobody.",
        OrEmpty(ADDRESS),
    ),
    Input(
        "speedtest_front_acme_ca_file",
        "",
        "With tls acme: a PEM file on the control machine with the root certificate that the ACME server itself is "
        "trusted by. Empty: what the host trusts.",
        OrEmpty(kinds.CONTROL_PATH),
    ),
    Input(
        "speedtest_front_certificate_file",
        "",
        "With tls files: the certificate and those that it was signed by, a PEM file on the control machine.",
        OrEmpty(kinds.CONTROL_PATH),
    ),
    Input(
        "speedtest_front_key_file",
        "",
        "With tls files: the certificate's private key, a PEM file on the control machine without a passphrase.",
        OrEmpty(kinds.CONTROL_PATH),
    ),
    Input(
        "speedtest_front_http_port",
        80,
        "Port on which browsers are sent on to https; an ACME server asks on 80.",
        Whole(1, 65_535),
    ),
    Input("speedtest_front_https_port", 443, "Port on which it answers over https.", Whole(1, 65_535)),
    Input(
        "speedtest_front_hsts_seconds",
        31_536_000,
        "How long browsers take nothing but https for this name, from each visit on (Strict-Transport-Security). 0: "
        "they are not told to.",
        Whole(0, 63_072_000),
    ),
    Input(
        "speedtest_front_dashboard_bind",
        "{{ speedtest_dashboard_bind | default('127.0.0.1') }}",
        "The address on which the dashboard listens.",
        domains.ADDRESS,
    ),
    Input(
        "speedtest_front_dashboard_port",
        "{{ speedtest_dashboard_port | default(8000) }}",
        "The port on which the dashboard listens.",
        Whole(1024, 65_535),
    ),
    Input(
        "speedtest_front_workbench_port",
        "{{ speedtest_dashboard_workbench_port | default(8501) "
        "if speedtest_dashboard_workbench_enabled | default(false) else 0 }}",
        "The port on which the workbench listens: it is under /workbench/ for who has logged in. 0: there is none.",
        Whole(0, 65_535),
    ),
    Input(
        "speedtest_front_bundles_dir",
        "{{ speedtest_pull_served_dir | default('') }}",
        "Where bundles for nodes that pull lie: it serves them, without a login, at /bundles/. Empty: it serves none.",
        OrEmpty(kinds.Directory()),
    ),
    Input(
        "speedtest_front_deliver_enabled",
        "{{ speedtest_archive_https_enabled | default(false) }}",
        "true: nodes deliver through it, at /deliver.",
        domains.BOOLEAN,
    ),
    Input(
        "speedtest_front_invitations_enabled",
        "{{ speedtest_archive_invitations_enabled | default(false) }}",
        "true: machines that were invited enrol through it, at /enrol.",
        domains.BOOLEAN,
    ),
)

ROLE = Role("speedtest_front", "TLS in front of the dashboard, by Caddy", INPUTS)
