"""By one command a machine that nobody can reach becomes a node: real ssh-keygen, Caddy, receiver, release; attacks."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shlex
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from front import NAME, Receiver
from tries import some

from plugins.converge import bundle, enrol
from plugins.converge.bundle import RefusedError
from plugins.desired import bundles, invitations
from plugins.lookup import release
from plugins.modules import host_state
from speedtest_logger import invitation
from speedtest_logger.errors import DeliveryError

OWNER = host_state.name_of(host_state.pwd.getpwuid, os.getuid())
GROUP = host_state.name_of(host_state.grp.getgrgid, os.getgid())
ME = {"owner": OWNER, "group": GROUP}


class Machine:
    """One that shall be a node, below a directory of the test's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    @property
    def token(self) -> str:
        return (self.folder / "etc" / "token").read_text().strip()

    def types(self, command: str) -> subprocess.CompletedProcess:
        """The command is typed here: the folders of the system are below the test's."""
        own = f"--config-dir {self.folder}/converge --state-dir {self.folder}/remembered enrol --node"
        command = command.replace("enrol --node", own)
        return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False, timeout=60)

    def enrols(self, command: str) -> None:
        """What the release does by that command, without the release. Raises what it raises."""
        words = shlex.split(command)
        name, url, signer = (words[words.index(option) + 1] for option in ("--node", "--url", "--signer"))
        places = (self.folder / "converge", self.folder / "remembered")
        enrol.enrolled(name, url, [signer], secret_of(command), places)

    def things(self) -> list[str]:
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())


class Fleet(Receiver):
    """An owner with a signing key, the archive host's receiver and front, and what they serve."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.served, self.invitations_file = folder / "served", folder / "invitations"
        self.served.mkdir()
        self.bundles_dir = str(self.served)
        self.kept, self.trusted = self.layout.state / "enrolled", folder / "trusted.pem"
        self.key, self.stranger = (self.new_key(name) for name in ("owner", "stranger"))
        packed = release.build(release.contents())
        digest = hashlib.sha256(packed).hexdigest()
        self.release = {"file": bundles.served_name("1", digest), "sha256": digest}
        self.release["bytes"] = len(packed)
        self.artifact = self.served / self.release["file"]
        self.artifact.write_bytes(packed)

    def new_key(self, name: str) -> Path:
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", self.folder / name]
        subprocess.run(argv, check=True)
        return self.folder / name

    def sign(self, name: str, there: Machine, key: Path | None = None, transport: str = "https") -> None:
        """The bundle of a node that lives in that machine's directory."""
        etc, ca = there.folder / "etc", self.root.read_text()
        values = {
            "NODE": name, "TRANSPORT": transport, "ARCHIVE_HOST": NAME, "ARCHIVE_PORT": self.port,
            "TOKEN_FILE": etc / "token", "KEY_FILE": etc / "id_ed25519", "CA_FILE": etc / "archive-ca.pem",
            "STATE_DIR": there.folder / "var",
        }  # fmt: skip
        text = "".join(f"SPEEDTEST_{variable}={value}\n" for variable, value in values.items())
        said = {
            "node": name, "serial": int(time.time()), "valid_until": time.time() + 3600, "version": "1",
            "settings": str(etc / "logger.env"), "release": self.release,
            "desired": {
                "directories": [{"path": str(etc), **ME, "mode": "0755"}],
                "files": [
                    {"path": str(etc / "logger.env"), "content": text, **ME, "mode": "0640"},
                    {"path": str(etc / "archive-ca.pem"), "content": ca, **ME, "mode": "0644"},
                ],
                "attributes": [{"path": str(etc / "token"), **ME, "mode": "0640"}],
            },
        }  # fmt: skip
        signed = bundles.signed({name: bundle.payload_of(said)}, key or self.key)[name]
        (self.served / bundle.file_name(name)).write_bytes(signed)

    def invite(self, name: str, hours: float = 24) -> str:
        """As invite.yml does it; the command."""
        node = {
            "name": name, "url": f"https://{NAME}:{self.port}/bundles", "transport": "https", "converge": "pull",
            "signers": [bundles.public_key(self.key)],
        }  # fmt: skip
        there = self.invitations_file.read_text() if self.invitations_file.exists() else None
        (command,), text = invitations.invite([node], self.served, hours, there)
        self.write(self.invitations_file, text)
        return command

    def write(self, file: Path, text: str) -> None:
        file.with_suffix(".new").write_text(text)
        file.with_suffix(".new").replace(file)

    def ask(self, path: str, secret: str, body: bytes, length: int | None = None) -> tuple[int, dict]:
        """Status and answer to a request, behind the front: who bounds and judges is the receiver."""
        size = len(body) if length is None else length
        head = f"POST {path} HTTP/1.1\r\nAuthorization: Bearer {secret}\r\nContent-Length: {size}\r\n"
        heard = b""
        with socket.socket(socket.AF_UNIX) as stream, suppress(ConnectionResetError):
            stream.connect(str(self.socket))
            stream.sendall(f"{head}Connection: close\r\n\r\n".encode() + body)
            while chunk := stream.recv(65_536):
                heard += chunk
        return int(heard.split()[1]), json.loads(heard.partition(b"\r\n\r\n")[2])

    def enrol(self, command: str, name: str, token: str) -> tuple[int, dict]:
        """What a machine says, said by anybody who holds the command."""
        return self.ask(invitation.PATH, secret_of(command), invitation.said(name, invitation.digest(token)))

    def delivers(self, token: str) -> str | None:
        """As whom a token delivers."""
        return self.ask("/deliver", token, b"")[1].get("node")

    def says(self, words: str) -> int:
        return self.journal.read_text().count(words)


def secret_of(command: str) -> str:
    return command.partition("=")[2].partition(" ")[0]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    made = Fleet(tmp_path_factory.mktemp("invite"))
    made.know("porch")
    (made.layout.fleet / "limits.env").write_text("SPEEDTEST_LIMIT_FREE_MB=1\nSPEEDTEST_LIMIT_LOW_DISK_MB=1\n")
    try:
        made.start()
        made.start_front()
        made.trusted.write_text(made.root.read_text())
        yield made
    finally:
        made.stop()


@pytest.fixture
def attic(fleet, tmp_path, monkeypatch):
    """A machine whose bundle is signed; nobody is invited, nobody has come."""
    fleet.kept.unlink(missing_ok=True)
    fleet.invitations_file.unlink(missing_ok=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(fleet.trusted))  # as a system trusts whoever serves bundles
    made = Machine(tmp_path / "attic")
    fleet.sign("attic", made)
    return made


def new_token() -> str:
    return secrets.token_hex(32)


def test_one_command_makes_a_node_and_it_is_what_its_bundle_says(fleet, attic, tmp_path):
    command = fleet.invite("attic")
    done = attic.types(command)
    assert done.returncode == 0, done.stderr
    assert "the archive knows this machine as node 'attic'" in done.stdout
    assert fleet.delivers(attic.token) == "attic"
    assert json.loads((attic.folder / "remembered" / "state.json").read_text())["error"] == ""
    assert (attic.folder / "etc" / "token").stat().st_mode & 0o777 == 0o640
    assert (attic.folder / "etc" / "id_ed25519").stat().st_mode & 0o777 == 0o600
    # neither secret lies anywhere but where it belongs
    for file in (fleet.kept, fleet.invitations_file, fleet.journal, fleet.folder / "caddy.log"):
        assert secret_of(command) not in file.read_text()
        assert attic.token not in file.read_text()
    # typed again it goes on where it was; a copy of the command opens nothing on another machine
    attic.enrols(command)
    other = Machine(tmp_path / "other")
    fleet.sign("attic", other)
    with pytest.raises(RefusedError, match="the invitation of node 'attic' has been used"):
        other.enrols(command)
    assert fleet.delivers(attic.token) == "attic"


def test_of_many_at_once_one_is_taken_and_the_others_are_told(fleet, attic):
    command, tokens = fleet.invite("attic"), [new_token() for _ in range(12)]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda token: fleet.enrol(command, "attic", token), tokens))
    assert sorted(status for status, _ in answers) == [200, *[410] * 11]
    assert {answer.get("refused") for _, answer in answers} == {None, "used_invitation"}
    winner = tokens[[status for status, _ in answers].index(200)]
    assert fleet.kept.read_text().split()[2:] == [invitation.digest(winner)]
    assert [token for token in tokens if fleet.delivers(token)] == [winner]


def test_what_is_no_open_invitation_of_that_node_is_refused_with_a_sentence_and_logged(fleet, attic):
    nobody, other = "X=" + "0" * 64, new_token()
    for hours, command, name, token, status, words in (
        (-1, "", "attic", other, 410, "the invitation of node 'attic' has expired; run invite.yml for another one"),
        (24, nobody, "attic", other, 401, "the archive host knows no such invitation"),
        (24, "X='", "attic", other, 401, "the archive host knows no such invitation"),
        (24, "", "porch", other, 403, "the invitation is for node 'attic', not for 'porch'"),
        (24, "", "attic", fleet.tokens["porch"], 409, "another node has that very token"),
        (24, "", "../etc", other, 422, "its name is none of a node"),
    ):
        own, before = fleet.invite("attic", hours), fleet.says(words)
        seen, answer = fleet.enrol(command or own, name, token)
        assert (seen, words in answer["message"]) == (status, True), answer
        assert fleet.says(words) == before + 1
        assert not fleet.kept.exists()
    assert fleet.delivers(other) is None
    assert fleet.delivers(fleet.tokens["porch"]) == "porch"
    for body in (b"", b"null", b"[" * 900, b'{"node": "attic"}', b'{"node": "attic", "token_sha256": "A"}'):
        assert fleet.ask(invitation.PATH, secret_of(fleet.invite("attic")), body)[0] == 422


def test_who_is_invited_again_has_a_new_one_and_the_old_ones_are_dead(fleet, attic):
    first, second = fleet.invite("attic"), fleet.invite("attic")
    one, two = new_token(), new_token()
    assert fleet.enrol(first, "attic", one)[0] == 401
    assert fleet.enrol(second, "attic", one)[0] == 200
    # a run of a playbook carries it over; the next machine of that name takes its place once it has come, not before
    fleet.write(fleet.tokens_file, f"attic {invitation.digest(one)}\n" + fleet.tokens_file.read_text())
    third = fleet.invite("attic")
    assert fleet.delivers(one) == "attic"
    assert fleet.enrol(third, "attic", two)[0] == 200
    assert (fleet.delivers(one), fleet.delivers(two)) == (None, "attic")
    fleet.know("porch")


def test_a_node_that_leaves_the_inventory_is_nobody_with_the_next_request(fleet, attic):
    command, token = fleet.invite("attic"), new_token()
    assert fleet.enrol(command, "attic", token)[0] == 200
    assert fleet.delivers(token) == "attic"
    fleet.write(fleet.invitations_file, "# managed\n")
    assert fleet.delivers(token) is None
    assert fleet.enrol(command, "attic", token)[0] == 401


@pytest.mark.sampled
def test_whoever_serves_the_release_or_the_bundle_is_not_believed(fleet, attic):
    command, content = fleet.invite("attic"), fleet.artifact.read_bytes()
    for changed in some([content + b"\0", b"", content[:-1], content.replace(content[100:108], b"xxxxxxxx")], 4):
        fleet.artifact.write_bytes(changed)
        done = attic.types(command)
        assert (done.returncode, "not the release that was promised" in done.stderr) == (1, True)
    fleet.artifact.write_bytes(content)
    fleet.sign("attic", attic, key=fleet.stranger)
    with pytest.raises(RefusedError, match="its signature is not one of the fleet's owner"):
        attic.enrols(command)
    fleet.sign("attic", attic, transport="ssh")
    with pytest.raises(RefusedError, match="only such a node can be invited"):
        attic.enrols(command)
    assert attic.things() == []
    assert not fleet.kept.exists()
    fleet.sign("attic", attic)
    attic.enrols(command)
    assert fleet.delivers(attic.token) == "attic"


def test_a_machine_tells_its_invitation_to_nobody_but_the_archive_of_its_bundle(fleet, attic, tmp_path):
    command, root = fleet.invite("attic"), fleet.root.read_text()
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    argv += ["-subj", "/CN=x", "-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "ca.pem")]
    subprocess.run(argv, check=True, capture_output=True)
    try:
        fleet.root.write_bytes((tmp_path / "ca.pem").read_bytes())
        fleet.sign("attic", attic)  # by which it trusts another authority than the front's
    finally:
        fleet.root.write_text(root)
    before = fleet.says("refused to enrol")
    with pytest.raises(DeliveryError, match="its certificate is not trusted"):
        attic.enrols(command)
    assert fleet.says("refused to enrol") == before
    assert not fleet.kept.exists()
    assert not (attic.folder / "converge").exists()


def test_only_a_node_that_can_enrol_is_invited_and_a_machine_is_one_node(fleet, attic):
    node = {
        "name": "attic",
        "url": "https://x",
        "signers": ["ssh-ed25519 AAAA"],
        "transport": "https",
        "converge": "pull",
    }
    now = time.time()
    for changes, words in (
        ({"transport": "ssh"}, "seen .* pull and .* ssh; only a node"),
        ({"converge": "push"}, "seen"),
    ):
        with pytest.raises(invitations.InvitationError, match=words):
            invitations.invite([{**node, **changes}], fleet.served, 24, None)
    with pytest.raises(invitations.InvitationError, match=r"shed: there is no bundle of it .*: run bundle\.yml"):
        invitations.release_of(fleet.served, "shed", now)
    with pytest.raises(invitations.InvitationError, match=r"its bundle in .* has expired"):
        invitations.release_of(fleet.served, "attic", now + 4000)
    attic.enrols(fleet.invite("attic"))
    with pytest.raises(RefusedError, match="this machine is node 'attic' already, not 'shed'"):
        attic.enrols(fleet.invite("attic").replace("--node attic", "--node shed"))


def test_a_disk_that_fails_uses_no_invitation(fleet, attic):
    command, token = fleet.invite("attic"), new_token()
    fleet.kept.mkdir()
    status, answer = fleet.enrol(command, "attic", token)
    assert (status, answer["refused"]) == (503, "storage")
    assert fleet.delivers(token) is None
    fleet.kept.rmdir()
    assert fleet.enrol(command, "attic", token)[0] == 200
    fleet.stop_service()
    fleet.start()
    assert fleet.delivers(token) == "attic"
    assert fleet.enrol(command, "attic", token)[0] == 410


def test_who_is_not_invited_makes_nothing_grow_and_keeps_nobody_out(fleet, attic):
    command = fleet.invite("attic")
    status, answer = fleet.ask(invitation.PATH, secret_of(command), b"", length=10**11)
    assert (status, answer["refused"]) == (413, "too_large")
    fleet.stop_service()
    fleet.start()  # nothing was refused in this minute yet
    before, size = fleet.says("refused to enrol"), fleet.journal.stat().st_size
    assert {fleet.ask(invitation.PATH, new_token(), b"hello")[0] for _ in range(150)} == {401, 429}
    assert fleet.says("refused to enrol") - before <= 2 * 31  # the minute may have ended meanwhile
    assert fleet.journal.stat().st_size - size < 20_000
    assert list(fleet.layout.state.glob("*enrol*")) == []
    assert fleet.enrol(command, "attic", new_token())[0] == 200
