"""Environment files: what systemd reads for a unit, read for people."""

from __future__ import annotations

import re
from pathlib import Path


def read(file: Path) -> dict[str, str]:
    """Variables of an environment file as systemd reads it: NAME=value or NAME="value" (systemd.exec(5))."""
    values = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            quoted = len(value) > 1 and value[0] == value[-1] == '"'
            values[name] = re.sub(r"\\(.)", r"\1", value[1:-1]) if quoted else value
    return values
