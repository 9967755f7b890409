#!/usr/bin/python
"""Observe a host: everything that a role manages, in one remote call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_state
short_description: Observe a host and plan what differs from the desired state
description:
  - The module reads; it changes nothing. The action plugin of the same name compares what was read with what is desired
    and returns a plan, which the role C(managed_host) carries out with standard modules.
options:
  paths: {type: list, elements: str, default: [], description: Files and directories to look at.}
  links: {type: list, elements: str, default: [], description: Symbolic links to look at.}
  trees: {type: list, elements: str, default: [], description: Directories to digest as a whole.}
  read: {type: list, elements: str, default: [], description: Files whose text is returned.}
  units: {type: list, elements: str, default: [], description: "systemd units to look at, or patterns of their names."}
  accounts: {type: list, elements: str, default: [], description: Accounts to look up.}
  packages: {type: list, elements: str, default: [], description: Packages to look up with dpkg-query.}
  candidates: {type: list, elements: str, default: [], description: Missing packages to ask apt about.}
  images: {type: list, elements: str, default: [], description: Docker images to look at.}
  repositories: {type: list, elements: str, default: [], description: Docker repositories whose images are listed.}
  containers: {type: list, elements: str, default: [], description: Docker containers to look at.}
  docker: {type: bool, default: false, description: Ask Docker for its versions.}
  programs: {type: list, elements: list, default: [], description: Command lines whose output is returned.}
"""

import glob
import grp
import hashlib
import json
import os
import platform
import pwd
import shutil
import stat
import subprocess
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule

LARGEST_DIGESTED = 16_000_000  # a larger file is known by its size
UNIT_PROPERTIES = "Id,LoadState,UnitFileState,ActiveState"


def name_of(lookup: Callable[[int], Any], number: int) -> str:
    try:
        return str(lookup(number)[0])
    except KeyError:
        return str(number)


def file_digest(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()


def path_state(path: str) -> dict[str, Any] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    kinds = {stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "link"}
    state: dict[str, Any] = {
        "kind": kinds.get(stat.S_IFMT(found.st_mode), "other"),
        "mode": f"{stat.S_IMODE(found.st_mode):04o}",
        "owner": name_of(pwd.getpwuid, found.st_uid),
        "group": name_of(grp.getgrgid, found.st_gid),
    }
    if state["kind"] == "file":
        state["size"] = found.st_size
        state["sha256"] = file_digest(path) if found.st_size <= LARGEST_DIGESTED else None
    return state


def tree_state(path: str) -> str | None:
    """A digest over names, modes and contents, byte code left out, as the lookup `release` makes it."""
    if not os.path.isdir(path):
        return None
    lines = []
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(files):
            file = os.path.join(folder, name)
            found = os.lstat(file)
            executable = bool(found.st_mode & 0o100)
            safe = found.st_uid == 0 and not found.st_mode & 0o022
            content = file_digest(file) if stat.S_ISREG(found.st_mode) else "no file"
            lines.append("%s %d %d %s" % (os.path.relpath(file, path), executable, safe, content))
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def link_state(path: str) -> str | None:
    return os.readlink(path) if os.path.islink(path) else None


def text_of(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return None


def output_of(argv: list[str]) -> str | None:
    environment = dict(os.environ, LC_ALL="C", PATH=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/bin")
    if shutil.which(argv[0], path=environment["PATH"]) is None:
        return None
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, check=False)
    return done.stdout.decode(errors="replace").strip()


def units_like(pattern: str) -> list[str]:
    """Units that systemd has loaded or starts when it boots."""
    loaded = output_of(["systemctl", "list-units", "--all", "--plain", "--no-legend", pattern]) or ""
    enabled = glob.glob("/etc/systemd/system/*.wants/" + pattern)
    return sorted({line.split()[0] for line in loaded.splitlines()} | {os.path.basename(path) for path in enabled})


def unit_states(wanted: list[str]) -> dict[str, Any]:
    names = list(dict.fromkeys(name for word in wanted for name in (units_like(word) if "*" in word else [word])))
    if not names:
        return {}
    shown = output_of(["systemctl", "show", "--property=" + UNIT_PROPERTIES, *names]) or ""
    states = {}
    for name, block in zip(names, shown.split("\n\n"), strict=False):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        states[name] = {
            "present": values.get("LoadState") not in ("not-found", "masked", None),
            "enabled": values.get("UnitFileState") in ("enabled", "enabled-runtime", "static", "alias"),
            "active": values.get("ActiveState") in ("active", "activating", "reloading"),
            "failed": values.get("ActiveState") == "failed",
        }
    return states


def account_state(name: str) -> dict[str, Any] | None:
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    return {
        "uid": found.pw_uid,
        "home": found.pw_dir,
        "shell": found.pw_shell,
        "group": name_of(grp.getgrgid, found.pw_gid),
        "groups": sorted(group.gr_name for group in grp.getgrall() if name in group.gr_mem),
    }


def package_versions(names: list[str]) -> dict[str, str]:
    if not names:
        return {}
    shown = (
        output_of(["dpkg-query", "--show", "--showformat=${Package}\t${db:Status-Status}\t${Version}\n", *names]) or ""
    )
    rows = [line.split("\t") for line in shown.splitlines() if line.count("\t") == 2]
    return {name: version for name, status, version in rows if status == "installed"}


def candidate_versions(names: list[str]) -> dict[str, str | None]:
    """The version that apt would install of each package, None where it knows none."""
    if not names:
        return {}
    found: dict[str, str | None] = dict.fromkeys(names)
    name = ""
    for line in (output_of(["apt-cache", "policy", *names]) or "").splitlines():
        if not line.startswith(" "):
            name = line.rstrip(":")
        elif line.strip().startswith("Candidate:") and "(none)" not in line:
            found[name] = line.split(":", 1)[1].strip()
    return found


def docker(*words: str) -> tuple[str, str]:
    """What docker printed and what it complained of; its exit code says too little: `inspect` fails for one of many."""
    done = subprocess.run(["docker", *words], capture_output=True, check=False)
    return done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace").strip()


def docker_state(images: list[str], repositories: list[str], containers: list[str]) -> dict[str, Any] | None:
    """Versions, images and containers; None where Docker is not installed; `error` where its daemon does not answer."""
    if shutil.which("docker") is None:
        return None
    printed, complaint = docker("version", "--format", "{{json .}}")
    versions = json.loads(printed) if printed.startswith("{") else {}
    server = (versions.get("Server") or {}).get("Version")
    state: dict[str, Any] = {
        "engine": server,
        "compose": docker("compose", "version", "--short")[0].strip().lstrip("v") or None,
        "error": None if server else complaint or "the daemon does not answer",
        "images": dict.fromkeys(images),
        "repositories": {name: [] for name in repositories},
        "containers": dict.fromkeys(containers),
    }
    if not server:
        return state
    for name in images:
        for found in json.loads(docker("image", "inspect", name)[0] or "[]"):
            state["images"][name] = {
                "id": found["Id"],
                "digests": found.get("RepoDigests") or [],
                "labels": found["Config"].get("Labels") or {},
            }
    for name in repositories:
        state["repositories"][name] = sorted(set(docker("image", "ls", "--quiet", name)[0].split()))
    for name in containers:
        for found in json.loads(docker("container", "inspect", name)[0] or "[]"):
            state["containers"][name] = {
                "running": found["State"]["Running"],
                "health": (found["State"].get("Health") or {}).get("Status"),
                "image": found["Image"],
                "labels": found["Config"].get("Labels") or {},
            }
    return state


def os_state() -> dict[str, Any]:
    release = dict(line.split("=", 1) for line in (text_of("/etc/os-release") or "").splitlines() if "=" in line)
    systemd = (output_of(["systemctl", "--version"]) or "systemd 0").split()[1]
    return {
        "id": release.get("ID", "").strip('"'),
        "codename": release.get("VERSION_CODENAME", "").strip('"'),
        "version_id": release.get("VERSION_ID", "").strip('"'),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "systemd": int(systemd) if systemd.isdigit() else 0,
        "python_apt": bool(output_of(["/usr/bin/python3", "-c", "import apt; print(1)"]) == "1"),
    }


def main() -> None:
    text_list = {"type": "list", "elements": "str", "default": []}
    lists = ("paths", "links", "trees", "read", "units", "accounts", "packages", "candidates")
    docker_lists = ("images", "repositories", "containers")
    options: dict[str, Any] = dict.fromkeys(lists + docker_lists, text_list)
    options["programs"] = {"type": "list", "elements": "list", "default": []}
    options["docker"] = {"type": "bool", "default": False}
    module = AnsibleModule(argument_spec=options, supports_check_mode=True)
    wanted = module.params
    asks_docker = wanted["docker"] or any(wanted[name] for name in docker_lists)
    packages = package_versions(wanted["packages"])
    module.exit_json(
        changed=False,
        paths={path: path_state(path) for path in wanted["paths"]},
        links={path: link_state(path) for path in wanted["links"]},
        trees={path: tree_state(path) for path in wanted["trees"]},
        texts={path: text_of(path) for path in wanted["read"]},
        units=unit_states(wanted["units"]),
        accounts={name: account_state(name) for name in wanted["accounts"]},
        packages=packages,
        candidates=candidate_versions([name for name in wanted["candidates"] if name not in packages]),
        docker=docker_state(*(wanted[name] for name in docker_lists)) if asks_docker else None,
        programs={argv[0]: output_of(argv) for argv in wanted["programs"]},
        os=os_state(),
    )


if __name__ == "__main__":
    main()
