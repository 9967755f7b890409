"""The distributions that images are made of: where each comes from, and what proves that it does."""

from __future__ import annotations

import re
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.shell import LabError, MirrorError, run

KEYRINGS = "/usr/share/keyrings"
DEBIAN_KEYRING = f"{KEYRINGS}/debian-archive-keyring.gpg"
UBUNTU_KEYRING = f"{KEYRINGS}/ubuntu-archive-keyring.gpg"
# Debian's newest release has Ubuntu's keys, bookworm has not; Debian's own keys prove that they are they.
KEYS_SUITE, KEYS_PACKAGE = "trixie", "ubuntu-keyring"
SECONDS = 20


@dataclass(frozen=True)
class Suite:
    """A release: where its mirror ends, its parts, the keys that sign it, debootstrap's script, what follows it."""

    name: str
    path: str = "debian"
    components: str = "main"
    keyring: str = DEBIAN_KEYRING
    script: str = ""
    updates: tuple[str, ...] = ()

    def mirror(self) -> str:
        """Where its packages are; a distribution that this machine is not of lies beside the one that it is of."""
        plain, _ = apt_mirrors()
        return plain if self.path == "debian" else plain.rstrip("/").removesuffix("debian") + self.path

    def sources(self) -> str:
        """Apt's one-line sources."""
        lines = [f"deb {self.mirror()} {name} {self.components}" for name in (self.name, *self.updates)]
        security = apt_mirrors()[1] if self.path == "debian" else None
        if security:
            lines.append(f"deb {security} {self.name}-security main")
        return "\n".join(lines) + "\n"

    def bootstrap(self, root: Path, *options: str, seconds: float) -> None:
        """Run debootstrap. Raises MirrorError, in words, where its mirror does not answer."""
        self.ask()
        if not Path(self.keyring).exists():
            install_ubuntu_keys()
        script = [f"/usr/share/debootstrap/scripts/{self.script}"] if self.script else []
        words = ["--variant=minbase", f"--keyring={self.keyring}", f"--components={self.components.replace(' ', ',')}"]
        run("debootstrap", *words, *options, self.name, str(root), self.mirror(), *script, timeout=seconds)

    def ask(self) -> None:
        """Whether its mirror has it, asked before hours of work or a test depend on it."""
        release = f"{self.mirror()}/dists/{self.name}/Release"
        try:
            with urllib.request.urlopen(release, timeout=SECONDS):  # noqa: S310  # http(s), as `apt_mirrors` finds it
                return
        except (OSError, urllib.error.URLError) as error:
            raise MirrorError(
                f"no mirror of {self.name}: {release} does not answer ({error}). Nothing was built and nothing was "
                f"tested; try again later, or name a mirror that has /{self.path} in this machine's apt sources"
            ) from error


def ubuntu(name: str) -> Suite:
    """A release of Ubuntu; all of debootstrap's scripts for it are one."""
    return Suite(
        name,
        path="ubuntu",
        components="main universe",
        keyring=UBUNTU_KEYRING,
        script="gutsy",
        updates=(f"{name}-updates", f"{name}-security"),
    )


SUITES = {each.name: each for each in (Suite("bookworm"), Suite("trixie"), ubuntu("noble"), ubuntu("jammy"))}


def apt_mirrors() -> tuple[str, str | None]:
    """The Debian mirror and the security mirror, from the machine's own apt sources (deb822 and one-line)."""
    text = ""
    for file in [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*.[ls]*"))]:
        if file.suffix in (".list", ".sources") and file.exists():
            text += re.sub(r"(?m)^\s*#.*$", "", file.read_text(encoding="utf-8")) + "\n"
    found = re.findall(r"(?m)^(?:URIs:\s*|deb\s+(?:\[[^\]]*\]\s+)?)(https?://\S+)", text)
    plain = next((uri for uri in found if uri.rstrip("/").endswith("/debian")), None)
    security = next((uri for uri in found if "debian-security" in uri), None)
    if plain is None:
        raise LabError("no Debian mirror in this machine's apt sources: add a line for .../debian")
    return plain, security


@contextmanager
def apt_from(*suites: str, source: str = "") -> Iterator[list[str]]:
    """Options by which apt knows some of Debian's releases alone, `source` with its source packages too.

    The machine's own lists stay as they are.
    """
    signed = f"[signed-by={DEBIAN_KEYRING}] {apt_mirrors()[0]}"
    lines = [f"deb {signed} {suite} main" for suite in suites] + ([f"deb-src {signed} {source} main"] if source else [])
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        for place in ("lists/partial", "archives/partial"):
            (top / place).mkdir(parents=True)
        (top / "sources.list").write_text("\n".join(lines) + "\n", encoding="utf-8")
        places = [f"Dir::Etc::SourceList={top}/sources.list", "Dir::Etc::SourceParts=/dev/null"]
        places += [f"Dir::State::Lists={top}/lists", f"Dir::Cache={top}", f"Dir::Cache::Archives={top}/archives"]
        options = [word for place in (*places, "APT::Sandbox::User=root") for word in ("-o", place)]
        run("apt-get", "-qq", *options, "update")
        yield options


def install_ubuntu_keys() -> None:
    """Ubuntu's keys, out of Debian's package of them, which apt checks."""
    with apt_from(KEYS_SUITE) as apt, tempfile.TemporaryDirectory() as folder:
        run("apt-get", "-qq", *apt, "download", KEYS_PACKAGE, cwd=Path(folder))
        (package,) = Path(folder).glob(f"{KEYS_PACKAGE}_*.deb")
        run("dpkg-deb", "--extract", str(package), f"{folder}/unpacked")
        shutil.copy(Path(folder, "unpacked") / UBUNTU_KEYRING.lstrip("/"), UBUNTU_KEYRING)
