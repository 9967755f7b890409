"""The collection as its users have it: built, installed without a network into an empty directory, and typed at."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml
from builders import ROOT, load

PAGE = (ROOT / "docs/how-to/install-as-a-collection.md").read_text(encoding="utf-8")
NAME = "speedtest.telemetry"
build = load("galaxy/build.py")
ending = load("plugins/filter/ending.py")


def blocks(language: str) -> list[str]:
    """The page's examples in a language, in their order."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", PAGE, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


def ran(command: str, folder: Path, code: int = 0, **environment: str) -> str:
    """What a line prints in a shell there; of Ansible's variables and of the checkout nothing is known."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHONPATH"))}
    path = f"{Path(sys.executable).parent}:{kept['PATH']}"
    done = subprocess.run(
        ["sh", "-ec", command],
        cwd=folder,
        env={**kept, "PATH": path, "HOME": str(folder), "ANSIBLE_NOCOLOR": "1", **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def fleet(tmp_path_factory) -> Path:
    """An empty directory after the page's steps 1 to 3."""
    folder = tmp_path_factory.mktemp("fleet")
    build.build(folder)
    ran(blocks("sh")[0], folder)
    (folder / "ansible.cfg").write_text(blocks("ini")[0])
    (folder / "site.yml").write_text(blocks("yaml")[0])
    return folder


@pytest.fixture(scope="module")
def installed(fleet) -> Path:
    """Where the collection lies."""
    return fleet / "collections/ansible_collections/speedtest/telemetry"


@pytest.fixture(scope="module")
def tarball(fleet) -> Path:
    """The file that was installed."""
    return next(fleet.glob("*.tar.gz"))


def test_what_the_page_has_you_type_runs(fleet):
    commands = [line for block in blocks("sh")[1:] for line in block.splitlines()]
    commands += sorted(set(re.findall(rf"`(ansible-playbook {NAME}[^`]*)`", PAGE)))
    assert len(commands) == 3
    for command in commands:
        ran(f"{command} --syntax-check", fleet)


def test_three_lines_are_enough_and_the_inventory_is_checked(fleet):
    """Without the page's ansible.cfg too, but for where the collection lies."""
    (fleet / "empty.cfg").touch()
    hosts = fleet / "bad.yml"
    hosts.write_text("speedtest_nodes: {hosts: {a: }, vars: {speedtest_logger_interval: 7min}}\n")
    said = ran(
        "ansible-playbook -i bad.yml site.yml",
        fleet,
        2,
        ANSIBLE_CONFIG="empty.cfg",
        ANSIBLE_COLLECTIONS_PATH="collections",
    )
    assert "speedtest_logger_interval: seen '7min'" in said
    assert "UNREACHABLE" not in said


def test_every_playbook_goes_by_its_name(fleet, installed):
    names = sorted(path.stem for path in (installed / "playbooks").glob("*.yml"))
    assert "site" in names
    ran(f"ansible-playbook --syntax-check {' '.join(f'{NAME}.{name}' for name in names)}", fleet)


def test_everything_is_documented(fleet, installed):
    found = json.loads(ran(f"ansible-doc --metadata-dump --no-fail-on-errors {NAME} 2>/dev/null", fleet))["all"]
    files = {
        kind: {path.stem for path in (installed / "plugins" / kind).glob("*.py")}
        for kind in ("action", "lookup", "callback")
    }
    filters = {path.stem for path in (installed / "plugins/filter").glob("*.yml")}
    wanted = {
        "module": files["action"] | {path.stem for path in (installed / "plugins/modules").glob("*.py")},
        "lookup": files["lookup"],
        "callback": files["callback"],
        "filter": filters,
        "role": {path.name for path in (installed / "roles").iterdir()},
    }
    for kind, names in wanted.items():
        assert set(found[kind]) == {f"{NAME}.{name}" for name in names}, kind
        undocumented = [
            name for name, page in found[kind].items() if kind != "role" and not page.get("doc", {}).get("description")
        ]
        assert undocumented == []
    roles = {name: page["entry_points"]["main"] for name, page in found["role"].items()}
    assert [name for name, main in roles.items() if not main.get("description")] == []


def test_the_artifact_is_the_checkout_s_and_is_not_written_again(fleet, installed):
    play = [
        {
            "hosts": "localhost",
            "gather_facts": False,
            "tasks": [
                {
                    "ansible.builtin.debug": {
                        "msg": "{{ lookup('speedtest.telemetry.release', version, directory=folder) }}"
                    }
                }
            ],
        }
    ]
    (fleet / "artifact.yml").write_text(yaml.safe_dump(play))
    version = build.release.source_version()
    file = installed / "dist" / f"speedtest-logger-{version}.tar.gz"
    before = file.stat()
    given = json.dumps({"version": version, "folder": str(file.parent)})
    said = ran(f"ansible-playbook -i localhost, artifact.yml -e '{given}'", fleet)
    assert build.release.digest(build.release.contents()) in said
    assert file.stat().st_ino == before.st_ino
    assert file.stat().st_mtime_ns == before.st_mtime_ns


def test_only_what_git_knows_goes_into_it(tarball):
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    known = {*listed.split("\0"), "MANIFEST.json", "FILES.json"}
    known |= {f"dist/speedtest-logger-{build.release.source_version()}.tar.gz"}
    known |= {name.replace("plugins/callback", "playbooks/callback_plugins") for name in known}
    with tarfile.open(tarball) as archive:
        assert [entry.name for entry in archive if not (entry.isfile() or entry.isdir())] == []
        files = {entry.name for entry in archive.getmembers() if entry.isfile()}
    assert files - known == set()
    assert {"playbooks/site.yml", "meta/runtime.yml", "src/speedtest_logger/__init__.py"} <= files
    assert not [name for name in files if name.startswith("inventory/") and not name.startswith("inventory/homelab/")]


@pytest.mark.parametrize("secret", ["inventory/homelab/host_vars/mine.yml", "plugins/callback/scratch.py"])
def test_a_file_that_git_does_not_know_stays_out(secret):
    file = ROOT / secret
    file.touch()
    try:
        assert not [names for names in build.copies() if Path(secret).name in " ".join(names)]
    finally:
        file.unlink()


def test_the_same_files_make_the_same_bytes(tarball, tmp_path):
    assert build.build(tmp_path).read_bytes() == tarball.read_bytes()


def test_files_are_listed_in_the_order_in_which_they_lie_there(tarball):
    with tarfile.open(tarball) as archive:
        lie = [entry.name for entry in archive if entry.isfile() and entry.name not in ("MANIFEST.json", "FILES.json")]
        listed = json.load(archive.extractfile("FILES.json"))["files"]
    assert [file["name"] for file in listed if file["ftype"] == "file"] == lie


def test_what_to_type_next_is_said_as_it_is_typed():
    assert [ending.playbook(name, installed=True) for name in ("site", "status")] == [f"{NAME}.site", f"{NAME}.status"]
    assert [ending.playbook(name, installed=False) for name in ("site", "status")] == [
        "site.yml",
        "playbooks/status.yml",
    ]
    assert not ending.INSTALLED
