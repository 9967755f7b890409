"""One of each thing that CONTRIBUTING has a row for: file by file, before which words which text is put.

`""`: a new file. What a newcomer writes besides is a test of it, and words for people.
"""

from __future__ import annotations

PACKAGE = "src/speedtest_logger"
Addition = dict[str, list[tuple[str, str]]]

SETTING: Addition = {
    f"{PACKAGE}/node/config.py": [
        (
            "    paused: bool = ",
            '    politeness: int = _option(Whole(0, 9), 3, "How polite the node is; see SPEEDTEST_QUIET_HOURS.")\n',
        )
    ]
}

ENGINE: Addition = {
    f"{PACKAGE}/engines/catalogue.py": [
        (
            '    "ookla": Program(',
            """    "acme": Program(
        "acme-cli",
        domains.HOST_PORT,
        "Acme: HOST or HOST:PORT of your own servers.",
        title="Acme's program",
        own_server="HOST or HOST:PORT",
        package=Package("acme-tools", debian=13, ubuntu=26),
    ),
""",
        )
    ],
    f"{PACKAGE}/engines/acme.py": [
        (
            "",
            '''"""acme-cli: speeds in kbit/s."""
from speedtest_logger.engines.contract import Command, Result
from speedtest_logger.engines.reading import load_json, plausible, positive
from speedtest_logger.errors import EngineError


class Acme:
    def version_of(self, text):
        return text.partition("acme-cli ")[2] or None

    def commands(self, job):
        return [Command([job.program, job.server])]

    def parse(self, outputs):
        content = load_json(outputs[0])
        if not isinstance(content, dict):
            raise EngineError("bad_output", "an object is expected")
        return plausible(Result(download_bps=positive(content.get("down"), 1e3)))


ENGINE = Acme()
''',
        )
    ],
    "tests/fixtures/acme-0.3-version.txt": [("", "acme-cli 0.3\n")],
    "tests/fixtures/acme-0.3-ok.json": [("", '{"down": 93100}\n')],
    "docker/Dockerfile.logger": [("      ca-certificates tzdata;", '      "acme-tools=${ACME_VERSION}" \\\n')],
    "lab/images.py": [("librespeed-cli make", "acme-tools "), ('iproute2 ca-certificates tzdata"', "acme-tools ")],
}

PROBE: Addition = {
    f"{PACKAGE}/probes/catalogue.py": [
        (
            '    "traceroute": Known(',
            '    "ntp": Known("a time server", domains.HOST_PORT, "ntp: time servers.", own_target="HOST"),\n',
        )
    ],
    f"{PACKAGE}/probes/ntp.py": [
        (
            "",
            '''"""ntp: a question (RFC 5905)."""
from speedtest_logger.probes.contract import Answer


class Ntp:
    def run(self, job, means):
        return Answer(1, [1.0])


PROBE = Ntp()
''',
        )
    ],
}

REASON: Addition = {
    f"{PACKAGE}/record.py": [('    "server_unreachable": ', '    "captive_portal": "a portal asked for a login",\n')],
    f"{PACKAGE}/engines/reasons.py": [('    ("server_busy", ', '    ("captive_portal", r"log in to the portal"),\n')],
}

KIND: Addition = {
    "plugins/desired/kinds.py": [
        (
            "def asks_path(",
            """def capability(item, observed):
    seen = observed["capabilities"].get(item["path"])
    return None if seen == item["value"] else f"{item['path']}: its capabilities are {seen}"


def capability_gone(item, observed):
    return f"{item['path']}: still has capabilities" if observed["capabilities"].get(item["path"]) else None


""",
        ),
        (
            '    Kind("marks", ',
            """    Kind("capabilities", lambda item: {"capabilities": [item["path"]]}, capability),
    Kind("absent_capabilities", lambda item: {"capabilities": [item["path"]]}, capability_gone),
""",
        ),
    ],
    "plugins/desired/things.py": [
        (
            "def unit(",
            """def capability(path, value, *, when=True):
    return Thing("capabilities", {"path": path, "value": value}, when)


""",
        )
    ],
    "plugins/modules/host_state.py": [
        ("  units: {type: list", "  capabilities: {type: list, elements: str, description: What programs may do.}\n"),
        ("def unit_states(", "def capability_state(path: str) -> str | None:\n    return 'seen of ' + path\n\n\n"),
        ('    ("accounts", "accounts", ', '    ("capabilities", "capabilities", capability_state),\n'),
    ],
    "roles/managed_host/tasks/main.yml": [
        ("managed_host_plan.links) | length", "managed_host_plan.capabilities + "),
        ("managed_host_plan.absent_projects", "managed_host_plan.absent_capabilities + "),
    ],
    "roles/managed_host/tasks/schedule.yml": [
        (
            "- name: schedule | Reload units",
            """- name: schedule | Programs have their capabilities
  ansible.builtin.command:
    argv: [setcap, "{{ item.value }}", "{{ item.path }}"]
  loop: "{{ managed_host_plan.capabilities + managed_host_plan.absent_capabilities }}"

""",
        )
    ],
}

# By the words of CONTRIBUTING's row.
ADDED = {
    "a setting of the node": SETTING,
    "an engine": ENGINE,
    "a probe": PROBE,
    "a reason why a record is not ok": REASON,
    "a kind of thing that roles manage": KIND,
}

# What is asked in the checkout to which they were added.
ASK = """
import contextlib, io, json
from pathlib import Path
from plugins.desired import speedtest_logger as role
from plugins.desired import plan as planning
from plugins.desired.things import capability, resolved
from plugins.modules import host_state
from plugins.remote import ANSWERS
from speedtest_logger import engines, env_file, record
from speedtest_logger.engines import reasons
from speedtest_logger.errors import EngineError
from speedtest_logger.inventory import check, environment
from speedtest_logger.inventory.found import Inventory, View
from speedtest_logger.node import config

L = "speedtest_logger_"
groups = {"speedtest_nodes": ["a"], "speedtest_archive": ["a"]}
def wrong(**values):
    return check.problems(Inventory({"a": {L + name: value for name, value in values.items()}}, groups))
text = environment.logger_env(View("a", {L + "politeness": 7, L + "acme_servers": ["h:7"], L + "node_name": "a",
                                         L + "probes": ["ntp"], L + "ntp_targets": ["h:123"]}, ("speedtest_logger",)))
open("logger.env", "w").write(text)
read = config.load(env_file.read(Path("logger.env")))
try:
    reasons.fail("please log in to the portal")
except EngineError as error:
    told = error.reason
item = {"path": "/bin/x", "value": "cap_net_raw=ep"}
gone = resolved([capability(**item, when=False)])
printed = io.StringIO()
with contextlib.redirect_stdout(printed):
    host_state.main(planning.request(gone, {}))
seen = json.loads(printed.getvalue())
print(json.dumps({
    "file": text,
    "setting": [read.politeness, wrong(politeness=10)],
    "engine": [read.engine["acme"].program, read.engine["acme"].servers, wrong(engines=["acme"]),
               wrong(engines=["acme"], acme_servers=["localhost"]), wrong(engines=["fastcom"])],
    "probe": [read.probe["ntp"].targets, wrong(probes=["ntp"]), wrong(probes=["npt"])],
    "package": [brings.name for brings in role.packages({"engines": ["acme"], "downloads": {}}).values()],
    "reason": [told, told in record.REASONS],
    "kind": [sorted(set(seen) - set(ANSWERS)), planning.plan(gone, seen)["absent_capabilities"],
             planning.plan(resolved([capability(**item)]), seen)["drift"]],
}))
"""
