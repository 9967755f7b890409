"""A release: every artefact with one version in one folder, each installed before it counts, and their checksums."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from lab.shell import step
from packages import build, proof
from packages.node import ROOT
from speedtest_logger import __version__

UNRELEASED = re.compile(r"unreleased", re.IGNORECASE)
# An extra of the wheel, and the program that shows that all it needs is there.
EXTRAS = {
    "archive": "speedtest-archive",
    "alerts": "speedtest-alerts",
    "dashboard": "speedtest-dashboard",
    "database": "speedtest-database",
}
IMAGES = ("logger", "dashboard")
SUMS = "SHA256SUMS"


def run(dist: Path) -> None:
    """Check, build, prove, and write the checksums last: a folder with them is a release."""
    check()
    folder = dist / f"release-{__version__}"
    if folder.exists():  # nothing of an earlier try is part of this one
        shutil.rmtree(folder)
    with step(f"build {__version__}"):
        made = artefacts(folder)
    with step("install each"):
        prove(folder)
    (folder / SUMS).write_text(checksums(made), encoding="utf-8")
    print(f"{folder.relative_to(ROOT)}:")
    for file in [*made, folder / SUMS]:
        print(f"  {file.name}  {file.stat().st_size / 1000:.0f} kB")
    print(f"then: git tag --sign v{__version__} && git push origin v{__version__}")


def check() -> None:
    """Raises RuntimeError naming everything that this checkout lacks for a release."""
    status = git("status", "--porcelain")
    tag = git("tag", "--list", f"v{__version__}", "--format", "%(objectname)%(*objectname)")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    found = problems(__version__, changes, status, not tag or git("rev-parse", "HEAD").strip() in tag)
    if found:
        raise RuntimeError("not yet:\n" + "\n".join(f"- {each}" for each in found))


def problems(version: str, changes: str, status: str, tag_is_here: bool) -> list[str]:
    """What a release lacks, each with what to do about it."""
    found = []
    if status.strip():
        found.append(f"the tree has changes ({status.split()[1]} …): commit them, for what is released is a commit")
    heading = re.search(rf"(?m)^## {re.escape(version)}\b.*$", changes)
    if heading is None:
        found.append(f"CHANGELOG.md has no '## {version}': say there who must act")
    elif UNRELEASED.search(heading[0]):
        found.append(f"CHANGELOG.md says '{heading[0]}': put the date there")
    elif not changes[heading.end() :].partition("\n## ")[0].strip():
        found.append(f"CHANGELOG.md says nothing below '{heading[0]}': say who must act")
    elif re.search(r"(?mi)^## unreleased\b", changes):
        found.append(f"CHANGELOG.md has entries that are unreleased: put them below '{heading[0]}'")
    if not tag_is_here:
        found.append(f"the tag v{version} is another commit's: raise __version__ in src/speedtest_logger/__init__.py")
    return found


def git(*words: str) -> str:
    """What git says of this checkout."""
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"git {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def artefacts(folder: Path) -> list[Path]:
    """All of them; images where Docker is."""
    made = build.everything(folder)
    make("collection-build")
    made.append(moved(ROOT / f"dist/speedtest-telemetry-{__version__}.tar.gz", folder))
    if docker_answers():
        make("image")
        made += [moved(ROOT / f"dist/speedtest-{name}-{__version__}.image.tar.gz", folder) for name in IMAGES]
    else:
        print("no images: no Docker Engine answers here; `make image` builds them where one does")
    return made


def make(verb: str) -> None:
    """A verb of the Makefile."""
    done = subprocess.run(["make", "--no-print-directory", verb], cwd=ROOT, check=False)
    if done.returncode:
        raise RuntimeError(f"make {verb} failed")


def moved(file: Path, folder: Path) -> Path:
    """An artefact that was made elsewhere."""
    if not file.exists():
        raise RuntimeError(f"{file} was not made")
    return Path(shutil.move(file, folder / file.name))


def docker_answers() -> bool:
    """Whether images can be built here."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "version"], capture_output=True, check=False).returncode == 0


def prove(folder: Path) -> None:
    """Each artefact installs, and what it brings says its version."""
    wheel, sdist = next(folder.glob("*.whl")), next(folder.glob("speedtest_telemetry-*.tar.gz"))
    for extra, program in EXTRAS.items():
        says_version(f"{wheel}[{extra}]", program)
    says_version(str(sdist), "speedtest-logger")
    collection(folder / f"speedtest-telemetry-{__version__}.tar.gz")
    for image in folder.glob("*.image.tar.gz"):
        command("docker", "image", "load", "--input", str(image))
    proof.run(folder)  # the .deb and the wheel, on bare machines


def says_version(requirement: str, program: str) -> None:
    """A distribution in an environment of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        uv = str(Path(sys.executable).with_name("uv"))
        command(uv, "venv", "--quiet", "--python", sys.executable, scratch)
        command(uv, "pip", "install", "--quiet", "--python", f"{scratch}/bin/python", requirement)
        said = command(f"{scratch}/bin/{program}", "--version")
        if said.split() != [program, __version__]:
            raise RuntimeError(f"{program} of {requirement} says {said.strip()}, not {__version__}")


def collection(file: Path) -> None:
    """The collection, into an empty directory, without a network."""
    with tempfile.TemporaryDirectory() as scratch:
        galaxy = str(Path(sys.executable).with_name("ansible-galaxy"))
        # there, for here the checkout is the collection, so that there would be nothing to do
        command(galaxy, "collection", "install", "--offline", str(file), "--collections-path", scratch, cwd=scratch)
        manifest = Path(scratch, "ansible_collections/speedtest/telemetry/MANIFEST.json").read_text(encoding="utf-8")
        if f'"version": "{__version__}"' not in manifest:
            raise RuntimeError(f"{file.name} is not of version {__version__}")


def command(*argv: str, cwd: str | Path = ROOT) -> str:
    """What a program prints. Raises RuntimeError with its words where it fails."""
    done = subprocess.run(argv, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def checksums(files: list[Path]) -> str:
    """As `sha256sum --check` reads them."""
    lines = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    return "".join(f"{lines[name]}  {name}\n" for name in sorted(lines))
