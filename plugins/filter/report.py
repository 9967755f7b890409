"""The report's command line from what a run was given with -e."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

PROGRAM = "/usr/local/bin/speedtest-archive"
# -e names: those of the program's options, - as _
OPTIONS = ("location", "last", "from", "to", "zone", "plan_download", "plan_upload")


def report_command(given: Mapping[str, Any], folder: str) -> list[str]:
    """The command that makes the report in a folder of the archive host; the program judges what its options say."""
    words = [f"--{name.replace('_', '-')}={given[name]}" for name in OPTIONS if name in given]
    return [PROGRAM, "report", *words, f"{folder}/report.html"]


def report_place(file: str, directory: str) -> str:
    """The absolute path of the page here; a relative one counts from where ansible-playbook was started."""
    if not file.endswith((".html", ".htm")):
        raise AnsibleFilterError(f"file: seen {file!r}; a name that ends in .html is wanted, the CSV lies beside it")
    return os.path.join(directory, os.path.expanduser(file))


class FilterModule:
    """Ansible's entry."""

    def filters(self) -> dict[str, Any]:
        return {"report_command": report_command, "report_place": report_place}
