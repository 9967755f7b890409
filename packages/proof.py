"""The page on installing without Ansible, typed as it stands, on bare machines of the lab: `make packages-proof`."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from lab import nodes
from lab.lab import Lab, load
from lab.scenarios import lab_of
from lab.shell import step
from packages import build, formats, node
from packages.node import NAME, ROOT
from speedtest_logger import __version__

PAGE = ROOT / "docs/how-to/install-without-ansible.md"
HUB, NODE = "hub", "attic"  # the hub is the target and the archive host
RATE = 80
KEYS = "/var/lib/speedtest-archive/.ssh/authorized_keys"
LATER = f"{__version__}.1"
# What apt, dpkg and systemd write whatever is installed.
NOT_OURS = "/var/(lib/(dpkg|apt|systemd/(catalog|random-seed|timers$))|cache|log/(apt|journal|dpkg)|backups|tmp)|-$"
SNAPSHOT = f"""sudo find /etc /usr /var /opt /srv /root /home -xdev | grep -Ev '{NOT_OURS}' | sort
getent passwd; getent group
systemctl list-unit-files --no-legend --plain; systemctl list-units --failed --plain --no-legend"""


class ProofError(RuntimeError):
    """What was promised does not hold."""


def run(dist: Path) -> None:
    """Of what lies in a folder: install, measure, deliver, upgrade, remove; then the same with the wheel."""
    judged(dist)
    with machines() as lab:
        proof = Proof(lab, dist)
        proof.prepare()
        bare = proof.on(NODE, SNAPSHOT)
        for part in (proof.refused_beside_ansible, proof.package, proof.archive, proof.by_timer, proof.upgraded):
            with step(f"{part.__name__.replace('_', ' ')}"):
                part()
        with step("removed and purged: nothing is left"):
            proof.gone(bare)
        with step("the wheel"):
            proof.wheel()
    print(
        "packages: installed, measured, delivered, upgraded, removed without a trace; the wheel measured and delivered"
    )


def judged(dist: Path) -> None:
    """Debian's own judge finds no error in the .deb, and rpm reads in the .rpm the files that were put into it."""
    for argv in (
        ["lintian", "--allow-root", "--fail-on", "error", str(made(dist, f"{NAME}_{__version__}-*.deb"))],
        ["rpm", "--query", "--list", "--package", str(made(dist, f"{NAME}-{__version__}-*.rpm"))],
    ):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        expect(done.returncode == 0, done.stdout + done.stderr)
    wanted = {file.path for file in [*node.files("rpm"), *formats.documents("rpm", "", datetime.now(timezone.utc))]}
    expect(set(done.stdout.split()) == wanted, f"in the .rpm differs: {set(done.stdout.split()) ^ wanted}")


def made(dist: Path, pattern: str) -> Path:
    """An artefact by its name."""
    found = list(dist.glob(pattern))
    expect(len(found) == 1, f"{len(found)} files {pattern} in {dist}: build them first")
    return found[0]


@contextmanager
def machines() -> Iterator[Lab]:
    """Two bare machines, for as long as it takes."""
    name = lab_of("packages")
    lab = [sys.executable, "-m", "lab"]
    subprocess.run([*lab, "wheels", "requirements/archive.txt"], cwd=ROOT, check=True)
    subprocess.run([*lab, "up", name, f"{HUB}:trixie", f"{NODE}:trixie:{RATE}/{RATE // 2}"], cwd=ROOT, check=True)
    try:
        yield load(name)
    finally:
        subprocess.run([*lab, "down", name], cwd=ROOT, check=True)


def blocks(section: str) -> list[str]:
    """What a section of the page has to be typed, block by block."""
    text = PAGE.read_text(encoding="utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    found = re.findall(r"(?:^ {4}.*\n)+", text, re.MULTILINE)
    return [re.sub("(?m)^ {4}", "", block) for block in found]


class Proof:
    """The machines, and what was learned of them."""

    def __init__(self, lab: Lab, dist: Path) -> None:
        self.lab, self.dist = lab, dist
        self.learned = {"iperf.example.org": HUB, "archive.example.org": HUB}

    def on(self, machine: str, script: str, *, fails: bool = False) -> str:
        """Type a script on a machine, with what was learned in the place of examples; what it printed."""
        for word, value in self.learned.items():
            script = script.replace(word, value)
        argv = [*self.lab.ssh(self.lab.node(machine)), f"bash -euc {shlex.quote(script)}"]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if (done.returncode != 0) is not fails:
            said = f"{done.stdout}{done.stderr}"[-3000:]
            raise ProofError(f"on {machine}, '{script.strip()}' ended with {done.returncode}:\n{said}")
        return done.stdout + (done.stderr if fails else "")

    def bring(self, machine: str, *files: Path) -> None:
        """Put files into the home of who logs in."""
        for file in files:
            place = nodes.root(self.lab, self.lab.node(machine)) / "home/ops" / file.name
            place.write_bytes(file.read_bytes())
            place.chmod(0o644)

    def prepare(self) -> None:
        """What stands beside: a target, files, and apt that is told yes."""
        for machine in (HUB, NODE):
            self.on(machine, """echo 'APT::Get::Assume-Yes "true";' | sudo tee /etc/apt/apt.conf.d/95yes""")
            self.on(machine, "sudo apt install iperf3 python3-venv")
            wheel = made(self.dist, f"speedtest_telemetry-{__version__}-*.whl")
            self.bring(machine, made(self.dist, f"{NAME}_{__version__}-*.deb"), wheel)
        self.on(HUB, "sudo systemd-run --quiet --unit=target iperf3 --server")
        key = self.on(HUB, "cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub").strip()
        self.learned["ARCHIVE_HOST_KEY"] = key

    def refused_beside_ansible(self) -> None:
        """A machine that Ansible looks after stays as it is."""
        install = blocks("A node on Debian or Ubuntu")[0]
        self.on(NODE, "sudo mkdir -p /opt/speedtest-telemetry/current")
        said = self.on(NODE, install, fails=True)
        expect("this machine is a node of an Ansible inventory" in said, said)
        self.on(NODE, "sudo rm -r /opt/speedtest-telemetry; ! test -e /etc/speedtest-telemetry")

    def package(self) -> None:
        """Installed and set up as the page says: it has measured, and knows when it does so again."""
        for block in blocks("A node on Debian or Ubuntu"):
            self.on(NODE, block)
        row = self.on(NODE, "sudo speedtest-logger status --json")
        expect('"status": "ok"' in row and '"engine": "iperf3"' in row, row)
        timer = self.on(NODE, "systemctl show speedtest-logger.timer --property=TimersCalendar,ActiveState")
        expect("*-*-* *:20:34 UTC" in timer and "ActiveState=active" in timer, timer)

    def archive(self) -> None:
        """An archive host from the wheel; the node delivers to it over ssh."""
        install, authorize, deliver, ingest = blocks("An archive host of your own")
        self.on(HUB, install)
        self.learned["NODE_PUBLIC_KEY"] = self.on(NODE, "sudo /usr/lib/speedtest-telemetry/identity").strip()
        self.on(HUB, authorize)
        self.on(NODE, deliver)
        found = self.on(HUB, ingest)
        expect(bool(re.search(r"attic\W+ok\W+iperf3", found)), found)

    def by_timer(self) -> None:
        """Other times take effect, a timer starts a slot, and its record is delivered by itself."""
        often = (
            'SPEEDTEST_INTERVAL_SECONDS="60"\nSPEEDTEST_OFFSET_SECONDS="20"\nSPEEDTEST_MEASURE_TIMEOUT_SECONDS="20"\n'
        )
        often += 'SPEEDTEST_DURATION_SECONDS="2"\nSPEEDTEST_START_TOLERANCE_SECONDS="10"'
        self.on(NODE, f"echo '{often}' | sudo tee -a /etc/speedtest-telemetry/logger.env; sudo systemctl daemon-reload")
        self.on(NODE, "sudo speedtest-logger config check")
        waited = (
            "for _ in $(seq 100); do grep -rqs '\\\"status\\\"' /srv/speedtest-archive/inbox && break; sleep 1; done"
        )
        self.on(HUB, f"sudo bash -c {shlex.quote(waited)}")
        found = self.on(
            HUB, blocks("An archive host of your own")[3].replace("node, status", "scheduled_at, node, status")
        )
        expect(bool(re.search(r":\d\d:20\S*\W+attic\W+ok", found)), found)

    def upgraded(self) -> None:
        """A newer package keeps settings, key and timers."""
        with_settings = "sudo sha256sum /etc/speedtest-telemetry/logger.env /etc/speedtest-telemetry/id_ed25519"
        before = self.on(NODE, with_settings)
        with tempfile.TemporaryDirectory() as scratch:
            newer = formats.build("deb", LATER, build.source_epoch(), Path(scratch))
            self.bring(NODE, newer)
        self.on(NODE, f"sudo apt install ./{newer.name}; rm {newer.name}")
        expect(self.on(NODE, with_settings) == before, "the upgrade changed settings or key")
        expect(LATER in self.on(NODE, f"dpkg-query --show {NAME}"), "the newer version is not installed")
        self.on(NODE, "systemctl is-active speedtest-logger.timer speedtest-push.timer")
        self.on(NODE, "sudo speedtest-logger measure --wait")

    def gone(self, bare: str) -> None:
        """Removed: data stay. Purged: the machine is as it was."""
        remove, purge = blocks("Upgrade and remove")[0].splitlines()
        self.on(NODE, remove)
        self.on(NODE, "! command -v speedtest-logger; sudo sh -c 'ls /var/lib/speedtest-telemetry/results/year=*'")
        self.on(NODE, "sudo test -s /etc/speedtest-telemetry/id_ed25519 -a -s /etc/speedtest-telemetry/logger.env")
        self.on(NODE, purge)
        left = sorted(set(self.on(NODE, SNAPSHOT).splitlines()) ^ set(bare.splitlines()))
        expect(left == [], "differs from before: " + ", ".join(left))

    def wheel(self) -> None:
        """The wheel on the machine that is bare again."""
        install, *rest = "".join(blocks("A node from the wheel")).partition("tee ~/")
        self.on(NODE, install)
        key = self.on(NODE, "cat ~/speedtest/id_ed25519.pub").strip()
        _, authorize, _, ingest = blocks("An archive host of your own")
        self.learned["NODE_PUBLIC_KEY"] = key
        self.on(HUB, f"sudo truncate --size 0 {KEYS}\n{authorize}")
        before = self.on(HUB, ingest).count("attic")
        self.on(NODE, "".join(rest))
        expect(self.on(HUB, ingest).count("attic") > before, "the wheel's record is not in the archive")


def expect(holds: bool, seen: str) -> None:
    """Raises ProofError with what was seen where something does not hold."""
    if not holds:
        raise ProofError(f"not as promised: {seen[-3000:]}")
