"""What a lab is: its nodes, its number (which decides bridge and addresses), and the file that remembers both."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from lab import images, network, prepared
from lab.shell import LabError, run

NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
MOST_LABS = 200
FORM = "NAME:SUITE[+docker][+prepared][:DOWN/UP]"


@dataclass
class Node:
    """One machine of a lab; rates in Mbit/s, 0 = not shaped; `docker`: a Docker Engine can run in it.

    `prepared`: what the roles would install first is there already (lab.prepared).
    """

    name: str
    suite: str
    index: int
    down_mbit: float = 0
    up_mbit: float = 0
    docker: bool = False
    prepared: bool = False


@dataclass
class Lab:
    """A set of nodes on one bridge."""

    name: str
    number: int
    nodes: list[Node]

    @property
    def directory(self) -> Path:
        """Everything that the lab keeps on disk."""
        return images.HOME / "labs" / self.name

    @property
    def key_file(self) -> Path:
        """The private key that logs into this lab's nodes as ops."""
        return self.directory / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The nodes' host keys."""
        return self.directory / "known_hosts"

    def address(self, node: Node) -> str:
        """A node's IPv4 address."""
        return f"{network.subnet(self.number)}.{10 + node.index}"

    def node(self, name: str) -> Node:
        """A node by name; raises LabError naming those there are."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise LabError(f"lab '{self.name}' has no node '{name}': it has {', '.join(n.name for n in self.nodes)}")

    def ssh(self, node: Node) -> list[str]:
        """The command line that logs into a node; the connection serves later ones for a while."""
        return [
            "ssh",
            "-i",
            str(self.key_file),
            "-o",
            f"UserKnownHostsFile={self.known_hosts}",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            "ConnectTimeout=5",
            "-o",
            "LogLevel=ERROR",
            "-o",
            "ControlMaster=auto",
            "-o",
            "ControlPersist=60",
            "-o",
            f"ControlPath={self.directory}/ssh-%h",
            f"ops@{self.address(node)}",
        ]

    def save(self) -> None:
        """Remember the lab, so that `down` finds it after a crash."""
        self.directory.mkdir(parents=True, exist_ok=True)
        new = self.directory / "lab.json.new"
        new.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        new.replace(self.directory / "lab.json")

    def forget(self) -> None:
        """Remove the lab's folder; connections to nodes that went remove their sockets in it at the same time."""
        for socket in self.directory.glob("ssh-*"):
            socket.unlink(missing_ok=True)
        shutil.rmtree(self.directory)


def load(name: str) -> Lab:
    """A lab that exists; raises LabError where it does not."""
    file = images.HOME / "labs" / name / "lab.json"
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LabError(f"there is no lab '{name}': `python3 -m lab list` shows those that there are") from None
    return Lab(saved["name"], saved["number"], [Node(**node) for node in saved["nodes"]])


def load_all() -> list[Lab]:
    """All labs on this machine; one that is removed meanwhile is none."""
    labs = []
    for file in sorted((images.HOME / "labs").glob("*/lab.json")):
        with suppress(LabError):
            labs.append(load(file.parent.name))
    return labs


def parse_node(text: str, index: int) -> Node:
    """A node from the command line, in the form FORM with rates in Mbit/s."""
    match = re.fullmatch(r"([^:]+):([a-z]+)(\+docker)?(\+prepared)?(?::([0-9.]+)/([0-9.]+))?", text)
    if not match or not NAME.fullmatch(match[1]):
        raise LabError(f"'{text}' is no node: write {FORM}, as in attic:bookworm:200/50")
    if match[2] not in images.CACHED:
        raise LabError(f"'{text}': unknown suite '{match[2]}': one of {', '.join(images.CACHED)}")
    if match[4] and match[2] not in prepared.LAYERS:
        raise LabError(f"'{text}': {match[2]} cannot be prepared: {' and '.join(prepared.LAYERS)} can")
    rates = float(match[5] or 0), float(match[6] or 0)
    return Node(match[1], match[2], index, *rates, docker=bool(match[3]), prepared=bool(match[4]))


def allocate(name: str, nodes: list[Node]) -> Lab:
    """Give a new lab the next free number and save it; labs that start at the same moment wait for each other.

    Numbers go round, so that an address is not soon another machine's: ssh keeps connections for a while.
    """
    if not NAME.fullmatch(name):
        raise LabError(f"'{name}' is no lab name: lower-case letters, digits and '-', 31 at most")
    with registry_lock():
        number = next_number({lab.number for lab in load_all()} | network.numbers_in_use())
        lab = Lab(name, number, nodes)
        lab.save()
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab {name}", "-f", str(lab.key_file))
    return lab


def next_number(taken: set[int]) -> int:
    """The free number after the one given last. Raises LabError where all are taken."""
    file = images.HOME / "last-number"
    last = int(file.read_text(encoding="utf-8")) if file.exists() else 0
    for step in range(1, MOST_LABS + 1):
        number = (last + step - 1) % MOST_LABS + 1
        if number not in taken:
            file.write_text(str(number), encoding="utf-8")
            return number
    raise LabError(f"{MOST_LABS} labs exist already: remove some with `python3 -m lab down NAME`")


@contextmanager
def registry_lock(of: str = "lock") -> Iterator[None]:
    """Held while a lab's number is chosen or its image is built; a rare and slow image has a lock of its own."""
    images.HOME.mkdir(parents=True, exist_ok=True)
    with (images.HOME / of).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
