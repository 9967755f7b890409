"""One word for each thing: docs/reference/glossary.md is made of this table, and a test forbids the other words."""

from __future__ import annotations

from dataclasses import dataclass

from speedtest_logger.engines.catalogue import ENGINES


@dataclass(frozen=True)
class Term:
    """A word, what it means, and words that mean the same and are not used."""

    name: str
    meaning: str
    instead_of: tuple[str, ...] = ()


TERMS = (
    # machines and places
    Term("fleet", "all machines of an inventory"),
    Term("node", "a machine that measures an internet line", ("probe node", "client machine")),
    Term("archive host", "the machine that receives, keeps and answers", ("archive server", "central server")),
    Term("target", "a measurement server of one's own: LibreSpeed's protocol, iperf3"),
    Term(
        "control machine",
        "the machine that runs Ansible",
        ("control node", "control host", "ansible controller", "management host"),
    ),
    Term("result", "what a probe found of one target in some minutes: requests, losses, round trips, when it failed"),
    Term("location", "the place whose line is measured; reports group by it"),
    Term("uplink", "a line that several nodes share; no two of them measure at the same time"),
    Term("runtime", "how the logger runs on a node: systemd, compose or kubernetes", ("deployment mode",)),
    Term("contract", "what the provider promises, in Mbit/s; in variables `plan_download_mbps`, `plan_upload_mbps`"),
    # measuring
    Term(
        "slot", "a moment at which a node must measure: interval and offset in the UTC day", ("time slot", "timeslot")
    ),
    Term("engine", f"a program that measures: {', '.join(each.title or each.name for each in ENGINES.values())}"),
    Term("probe", "what a node asks a few targets beside its tests each minute: ping, dns, http, irtt, traceroute"),
    Term("chain", "the engines of a node in the order in which they are tried"),
    Term("record", "the outcome of one slot or one measurement by hand: one row", ("result record",)),
    Term("run_id", "identifies a record; made of node and slot, so that a slot cannot be counted twice"),
    Term("reason", "one word of a closed list that says why a record is not ok"),
    Term(
        "raw output",
        "what an engine printed, byte for byte",
        ("own words", "engine's words", "engines' words"),
    ),
    Term("skipped", "a slot that was left out on purpose, with a reason"),
    Term("missed", "a slot without any record: the archive knows it from the schedule", ("lost slot",)),
    Term("coverage", "what became of every slot: ok, partial, failed, skipped, missed, pending"),
    Term("outage", "consecutive slots in which a node could not measure"),
    # from the node to the archive
    Term("outbox", "records on the node that wait for a receipt", ("send queue",)),
    Term("history", "the node's own CSV of all its records, kept for some time"),
    Term("bundle", "what one node shall be, signed, for nodes that are not pushed to"),
    Term("invitation", "a secret by which one machine becomes a node, once", ("enrolment token", "join token")),
    Term("delivery", "records sent over ssh, and the receipt that comes back"),
    Term(
        "receipt",
        "the archive's answer: which records it has on disk; only those leave the outbox",
        ("acknowledgement", "acknowledgment"),
    ),
    Term("rejected", "records that the archive refused, with the reason beside each; they stay on the node"),
    Term("inbox", "deliveries on the archive host that have a receipt and are not ingested yet"),
    Term("ingest", "move records from the inbox into the month files, each once"),
    Term(
        "quarantine",
        "what the archive could not take, with its reason, until a person looks or it is too old",
        ("set aside", "sets aside", "lies aside", "lie aside", "put aside", "goes aside"),
    ),
    # the archive
    Term("archive", "the Parquet files of all records, and the manifest that proves them"),
    Term("month file", "the one Parquet file of a location and month", ("monthly file",)),
    Term("gathered file", "a copy of many finished months in one file, for fast questions about a large fleet"),
    Term("manifest", "a chain of lines with the SHA-256 of every file and day that a change touched"),
    Term("snapshot", "links to month files, so that a reader sees one moment; of restic: one backup"),
    Term("repair", "make a damaged file right again, from a backup or from the nodes", ("mend", "mends", "mended")),
    Term("accept", "have the manifest go on from a file that differs and cannot be repaired"),
    Term(
        "log",
        "what a node's logger did, as JSON lines: delivered behind the records, kept in the archive for some weeks, "
        "and not proven by the manifest",
    ),
    Term("prune", "remove old months, as a whole, with a line in the manifest"),
    # being told
    Term("finding", "what a rule of alerts says is wrong: of a line, a node or the archive, from when to when"),
    Term("rule", "when a finding begins and when it ends, with limits that can be set"),
    Term("severity", "how bad a finding is: info, warning or critical; its rule says so"),
    Term("destination", "who is told: an address of Apprise's, and what it wants to hear", ("notification channel",)),
    Term(
        "notification",
        "a message about findings that a destination is sent; it waits on disk until it has left",
        ("alert message", "push message"),
    ),
    Term("held back", "a finding that is not told while another one lasts that explains it"),
    Term("withdrawn", "a finding that was not so after all, as records that came late show", ("false alarm",)),
    Term("quiet hours", "of a node: no slot is measured; of a destination: only what is critical is told at once"),
    Term("reminder", "a notification that a finding lasts still"),
    Term("grace", "how long a record may be on its way until its slot counts as missed", ("grace period",)),
    Term(
        "heartbeat",
        "an address that is asked for after each good evaluation, so that somebody outside notices its staying away",
        ("dead man's switch",),
    ),
    Term("evaluation", "judging all slots that are new, each minute"),
    Term(
        "digest",
        "of records: a SHA-256 of their values; of alerts: how each line did in a day or week, in one notification",
    ),
    # running a fleet
    Term("inventory", "what the machines are to be: the one place where that is said"),
    Term("setting", "of a node: SPEEDTEST_… in logger.env; made of the inventory's variable", ("config option",)),
    Term("preflight", "the check of the inventory before any machine is contacted"),
    Term("drift", "a difference between a machine and the inventory", ("configuration deviation",)),
    Term("registry", "`fleet/schedule.json`: which node had which slots, where, and when", ("schedule database",)),
    Term("release", "one version of the program as it lies on a machine; several lie side by side"),
    Term("batch", "the nodes that get another release at the same time", ("rollout wave",)),
)


def page() -> str:
    """The glossary as Markdown, without its head."""
    text = (
        "# Glossary\n\nOne word for each thing, in these pages, in help texts, messages, events and names of tasks.\n\n"
    )
    text += "| word | meaning | not |\n| --- | --- | --- |\n"
    for term in sorted(TERMS, key=lambda term: term.name):
        text += f"| {term.name} | {term.meaning} | {', '.join(term.instead_of)} |\n"
    return text
