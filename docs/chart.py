"""The chart's values.schema.json and README: what Helm itself refuses before anything reaches a cluster."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from speedtest_logger import domains
from speedtest_logger.engines.catalogue import ENGINES
from speedtest_logger.inventory.kubernetes import OF_CHART
from speedtest_logger.node import config
from speedtest_logger.record import ID_PATTERN
from speedtest_logger.schedule import DAY, SHORTEST

CHART = Path(__file__).resolve().parents[1] / "kubernetes" / "chart"
Schema = dict[str, Any]
LONGEST_NAME = 52 - len("speedtest-")  # a CronJob adds eleven characters to its own
QUANTITY = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"}
TEXT: Schema = {"type": "string"}
DNS_LABEL = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"
DNS_NAME: Schema = {"type": "string", "pattern": f"^{DNS_LABEL}$"}
IDENTIFIER: Schema = {"type": "string", "pattern": f"^{ID_PATTERN.pattern}$", "not": {"pattern": "^[0-9]+$"}}
SWITCH: Schema = {"type": "boolean"}
SETTINGS: Schema = {"$ref": "#/$defs/settings"}


def entry(properties: dict[str, Schema], *required: str) -> Schema:
    """A mapping with these keys and no others."""
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        **({"required": list(required)} if required else {}),
    }


def may_be_empty(schema: Schema) -> Schema:
    """The same text, or none."""
    return {**schema, "pattern": f"^$|{schema['pattern']}"}


def settings() -> Schema:
    """Settings by the names that the node knows them by; what is none is refused by Helm, not by the first pod."""
    known = {}
    for option in dataclasses.fields(config.Settings):
        if option.name not in (*OF_CHART, *config.EACH):
            known[config.PREFIX + option.name.upper()] = said(option.metadata["domain"], option.metadata["text"])
    for engine in ENGINES:
        for option in dataclasses.fields(config.EngineSettings):
            name = f"{config.PREFIX}{engine}_{option.name}".upper()
            known[name] = said(config.engine_domain(engine, option.name), config.engine_text(engine, option.name))
    return entry(known)


def said(domain: domains.Domain, text: str) -> Schema:
    """A setting: always text, as an environment has it; a choice names what it may be."""
    closed = isinstance(domain, (domains.Choice, domains.Boolean))
    choices = ["true", "false"] if isinstance(domain, domains.Boolean) else getattr(domain, "choices", [])
    return {"type": "string", **({"enum": list(choices)} if closed else {}), "description": text}


def node() -> Schema:
    """An entry of `nodes`."""
    return entry(
        {
            "name": {**IDENTIFIER, "maxLength": LONGEST_NAME},
            "location": IDENTIFIER,
            "uplink": may_be_empty(IDENTIFIER),
            "machine": DNS_NAME,
            "intervalSeconds": {"type": "integer", "minimum": SHORTEST, "maximum": DAY, "multipleOf": 60},
            "offsetSeconds": {"type": "integer", "minimum": 0, "maximum": DAY - 60, "multipleOf": 60},
            "settings": SETTINGS,
            "identitySecret": may_be_empty(DNS_NAME),
        },
        *("name", "intervalSeconds", "offsetSeconds"),
    )


IMAGE: Schema = {
    "type": "string",
    "pattern": r"^$|^[^\s@]+(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}|@sha256:[0-9a-f]{64})$",
}
STORAGE = entry({"className": may_be_empty(DNS_NAME), "size": QUANTITY})
RESOURCES = entry({kind: entry({"cpu": QUANTITY, "memory": QUANTITY}) for kind in ("requests", "limits")})
# Each value, what it may be, and what it does.
VALUES: dict[str, tuple[Schema, str]] = {
    "image": (
        IMAGE,
        "The image, with its tag or digest, of `docker/Dockerfile.logger`. It must be set where there are nodes.",
    ),
    "imagePullSecrets": ({"type": "array", "items": DNS_NAME}, "Names of Secrets by which it is pulled."),
    "imagePullPolicy": ({"enum": ["Always", "IfNotPresent", "Never"]}, "When it is pulled."),
    "archive": (
        entry(
            {
                "host": TEXT,
                "port": {"type": "integer", "minimum": 1, "maximum": 65_535},
                "user": TEXT,
                "transport": {"enum": ["ssh", "https"]},
                "knownHosts": TEXT,
                "ca": TEXT,
                "enabled": SWITCH,
                "certificateSecret": may_be_empty(DNS_NAME),
                "tokens": {
                    "type": "object",
                    "propertyNames": IDENTIFIER,
                    "additionalProperties": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                },
                "storage": STORAGE,
                "resources": RESOURCES,
            }
        ),
        "Where results go, by `ssh` or `https`, and how the archive host is known: `knownHosts` with ssh (needed), "
        "`ca` with https (empty: the image's authorities). With an empty `host` they stay on the volume. `enabled`: "
        "the archive is made here, with a certificate (`certificateSecret`, of the type `kubernetes.io/tls`, for "
        "the name `speedtest-archive`); `tokens` has the SHA-256 of each node's token; `storage`, "
        "`resources` are its own.",
    ),
    "dashboardImage": (
        IMAGE,
        "The image, with its tag or digest, of `docker/Dockerfile.dashboard`. It must be set with `archive.enabled`.",
    ),
    "dashboard": (
        entry(
            {
                "enabled": SWITCH,
                "usersSecret": may_be_empty(DNS_NAME),
                "lists": {"type": "array", "items": {"enum": ["keys", "shares"]}, "uniqueItems": True},
                "host": may_be_empty(DNS_NAME),
                "frontAddresses": {"type": "array", "items": {"type": "string", "pattern": "^[0-9a-f.:]+(/[0-9]+)?$"}},
                "frontNamespace": may_be_empty(DNS_NAME),
                "ingress": entry(
                    {
                        "enabled": SWITCH,
                        "className": may_be_empty(DNS_NAME),
                        "tlsSecret": may_be_empty(DNS_NAME),
                        "annotations": {"type": "object", "additionalProperties": TEXT},
                    }
                ),
                "timeZone": TEXT,
                "title": {"type": "string", "pattern": "^.{1,80}$"},
                "storage": STORAGE,
                "resources": RESOURCES,
            }
        ),
        "`enabled`: pages and an API of the archive here, for the users of `usersSecret` (`users.json`; `lists`: what "
        "else it has). `host`: the name by which an Ingress leads there, whose controller is believed: "
        "`frontAddresses`, `frontNamespace`. `ingress`: whether it is made here. `storage`: its own folder's.",
    ),
    "settings": (SETTINGS, "Settings of all nodes, [by their names](../../docs/reference/settings.md), as texts."),
    "nodes": (
        {"type": "array", "items": node()},
        "One entry for each line: `name`, `intervalSeconds`, `offsetSeconds` (both in whole minutes), and where wanted "
        "`location`, `uplink`, `machine` (the cluster's machine behind the line), `settings`, `identitySecret`.",
    ),
    "hostNetwork": (SWITCH, "`true`: measure through the machine's own network."),
    "storage": (
        STORAGE,
        "Each node's volume. It stays when the release goes.",
    ),
    "resources": (
        RESOURCES,
        "Of both containers of a node. A limit of the CPU would be measured instead of the line.",
    ),
    "tolerations": ({"type": "array", "items": {"type": "object"}}, "As Kubernetes has them."),
    "suspend": (SWITCH, "`true`: nothing is started; slots are missing in the archive."),
    "global": ({"type": "object"}, "Helm's own; nothing here reads it."),
}


def schema() -> str:
    """values.schema.json."""
    properties = {name: {**what, "description": text} for name, (what, text) in VALUES.items()}
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Values of the chart speedtest-logger",
        "$defs": {"settings": settings()},
        **entry(properties),
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def readme(note: str, rows: str) -> str:
    """The chart's README."""
    return (
        f"{note}# speedtest-logger\n\nA CronJob, a volume and a ConfigMap for each internet line that a cluster "
        "measures: [how to use it](../../docs/how-to/kubernetes.md). [The same as plain manifests](../manifests/), of "
        f"[these values](../example-values.yaml).\n\n{rows}"
    )


def pages(note: str, table: Any) -> dict[Path, str]:
    """Every generated file of the chart and its content."""
    rows = [(f"`{name}`", text) for name, (_, text) in VALUES.items() if name != "global"]
    return {
        CHART / "values.schema.json": schema(),
        CHART / "README.md": readme(note, table(("value", "what it does"), rows)),
    }
