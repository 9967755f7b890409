"""Run a molecule scenario from the installed collection: python galaxy/scenario.py TARBALL NAME LOG.

In an empty directory there are the collection, as ansible-galaxy installs it without a network, an ansible.cfg, and
playbooks of three lines in the places where the scenario's tests look for the checkout's. Molecule, the lab and the
tests are copies; of the checkout nothing else is within reach.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPIED = (".config/molecule", "lab", "molecule/shared")
PLAYBOOK = "---\n- name: What is installed\n  ansible.builtin.import_playbook: speedtest.telemetry.{}\n"
CONFIGURATION = """[defaults]
collections_path = collections
interpreter_python = /usr/bin/python3
stdout_callback = speedtest.telemetry.fleet
callback_result_format = yaml

[ssh_connection]
pipelining = true
"""


def program(name: str) -> str:
    """A program of the environment that this runs in."""
    return str(Path(sys.executable).with_name(name))


def install(tarball: Path, folder: Path) -> Path:
    """Install the collection below a folder; returns where it lies."""
    argv = [
        program("ansible-galaxy"),
        "collection",
        "install",
        "--offline",
        str(tarball.resolve()),
        "-p",
        "collections",
    ]
    subprocess.run(argv, cwd=folder, check=True)
    return folder / "collections/ansible_collections/speedtest/telemetry"


def furnish(folder: Path, installed: Path, name: str) -> None:
    """What molecule and the scenario's tests need besides the collection."""
    for each in (*COPIED, f"molecule/{name}"):
        shutil.copytree(ROOT / each, folder / each, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "requirements").symlink_to(installed / "requirements")  # the lab fetches what they name
    (folder / "ansible.cfg").write_text(CONFIGURATION, encoding="utf-8")
    (folder / "playbooks").mkdir()
    for playbook in (installed / "playbooks").glob("*.yml"):
        (folder / "playbooks" / playbook.name).write_text(PLAYBOOK.format(playbook.stem), encoding="utf-8")
    (folder / "playbooks" / "site.yml").rename(folder / "site.yml")
    for each in ("tasks", "vars"):  # what a playbook of the tests includes
        (folder / "playbooks" / each).symlink_to(installed / "playbooks" / each)
    subprocess.run(
        ["git", "init", "--quiet", folder], check=True
    )  # molecule looks for its configuration at such a root


def run(tarball: Path, name: str, log: Path) -> int:
    """Install, run, and return the exit code."""
    with tempfile.TemporaryDirectory(prefix="collection-") as work:
        folder = Path(work)
        installed = install(tarball, folder)
        furnish(folder, installed, name)
        environment = {**os.environ, "PYTHONPATH": f"{installed / 'src'}:{folder}"}
        argv = [sys.executable, "-m", "lab.scenarios", "run", name, str(log.resolve())]
        return subprocess.run(argv, cwd=folder, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))
