"""What Galaxy and ansible-doc want to know of the collection: galaxy.yml, and a page for each filter."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from speedtest_logger import __version__

NAME = "speedtest.telemetry"
FILTERS = Path(__file__).resolve().parents[1] / "plugins" / "filter"
# as annotations have it, less what stands in brackets
TYPES = {"str": "str", "list": "list", "dict": "dict", "Vars": "dict", "Mapping": "dict", "bool": "bool", "int": "int"}
CODE = re.compile(r"`([^`]+)`")  # Ansible has C() for it
# Arguments of all filters: one name means one thing.
ARGUMENTS = {
    "archive": "The archive's fleet files, and the time there.",
    "brought": "Nodes that this run has brought to what the inventory says; without it, all that it reached.",
    "ca": "The authority that the front's certificate is of, where it is not the one that was read of it.",
    "checking": "Whether the run is one with --check.",
    "directory": "The folder from which a relative path counts.",
    "file": "The path of the page.",
    "files": "Content of the archive's fleet files that the run was given, by name.",
    "folder": "A folder on the archive host.",
    "given": "Variables of the run, of which those count that are options of the report.",
    "groups": "Ansible's groups.",
    "held": "Files that were read of the archive host.",
    "host": "A host's name in the inventory.",
    "host_key": "The archive host's public key, where the inventory has it.",
    "hosts": "Names of hosts, or names of hosts by what became of them.",
    "hostvars": "Ansible's hostvars.",
    "listed": "Lines of an image's id and its tag.",
    "names": "Names of groups.",
    "node": "A node's name.",
    "nodes": "Variables of nodes, less the prefix of their role.",
    "now": "The time; the clock's where it is left out.",
    "playbook_dir": "Where the playbook lies, for the variables beside it.",
    "read": "What fleet_run has read of the archive host.",
    "registry": "What was deployed, as the archive holds it.",
    "result": "The result of a task that failed.",
    "seen": "What host_state has seen of the machine's system.",
    "slots": "The fleet's plan, as fleet_slots gives it.",
    "sources": "Ansible's ansible_inventory_sources.",
    "state": "What fleet_known says of the archive host.",
    "tags": "Tags of images that are kept.",
    "use": "What the machine shall be.",
    "ways": "How nodes reach the archive, by their transport.",
    "writing": "Whether the run changes the fleet.",
    "_": "It does not matter.",
}


def galaxy() -> dict[str, Any]:
    """galaxy.yml; what goes into the file is not said here: galaxy/build.py lists it."""
    return {
        "namespace": "speedtest",
        "name": "telemetry",
        "version": __version__,
        "readme": "README.md",
        "authors": ["The speedtest-telemetry maintainers"],
        "description": "Every node measures its internet line on schedule; one Parquet archive holds the truth.",
        "license_file": "LICENSE",
        "tags": ["monitoring", "networking", "speedtest", "telemetry", "linux"],
        "dependencies": {},
        "repository": "https://example.org/speedtest-telemetry",  # Galaxy wants one: that of whoever publishes
    }


def execution_environment() -> dict[str, Any]:
    """What ansible-builder makes an image of, with the collection as `make collection-build` leaves it."""
    tarball = f"speedtest-telemetry-{__version__}.tar.gz"
    return {
        "version": 3,
        "images": {"base_image": {"name": "docker.io/library/python:3.13-slim-trixie"}},
        "dependencies": {
            "ansible_core": {"package_pip": "ansible-core==2.19.14"},
            "ansible_runner": {"package_pip": "ansible-runner==2.4.3"},
            "galaxy": {"collections": [{"name": f"configs/{tarball}", "type": "file"}]},
            "system": ["openssh-client [platform:dpkg]"],
        },
        "additional_build_files": [{"src": f"dist/{tarball}", "dest": "configs"}],
        "options": {"package_manager_path": "/usr/bin/apt-get"},
    }


def filters() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every filter of the collection and its function."""
    for file in sorted(FILTERS.glob("*.py")):
        module = importlib.import_module(f"plugins.filter.{file.stem}")
        yield from module.FilterModule().filters().items()


def page(name: str, function: Callable[..., Any]) -> dict[str, Any]:
    """A filter's documentation, from its signature and its docstring."""
    subject, *positional = inspect.signature(function).parameters.values()
    words = CODE.sub(r"C(\1)", " ".join((inspect.getdoc(function) or "").split()))
    calls = ", ".join(each.name for each in positional if each.default is each.empty)
    return {
        "DOCUMENTATION": {
            "name": name,
            "short_description": words.partition(". ")[0].rstrip("."),
            "description": [words],
            "positional": ", ".join(each.name for each in positional),
            "options": {
                "_input": {"description": ARGUMENTS[subject.name], "type": type_of(subject), "required": True},
                **{each.name: option(each) for each in positional},
            },
        },
        "EXAMPLES": f'found: "{{{{ {subject.name} | {NAME}.{name}({calls}) }}}}"\n',
        "RETURN": {"_value": {"description": words, "type": named(inspect.signature(function).return_annotation)}},
    }


def option(parameter: inspect.Parameter) -> dict[str, Any]:
    """One argument of a filter."""
    wanted = parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL
    simple = isinstance(parameter.default, (bool, int)) and {"default": parameter.default}
    return {
        "description": ARGUMENTS[parameter.name],
        "type": type_of(parameter),
        **({"required": True} if wanted else simple or {}),
    }


def type_of(parameter: inspect.Parameter) -> str:
    """Ansible's type of an argument."""
    return "list" if parameter.kind is parameter.VAR_POSITIONAL else named(parameter.annotation)


def named(annotation: str) -> str:
    """Ansible's name for the type that an annotation says."""
    return TYPES.get(annotation.partition("[")[0].partition(" ")[0], "raw")
