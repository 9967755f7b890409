"""Make directories, files and links of a host what they should be, in one remote call."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))
sys.path.insert(0, str(ROOT))

from plugins.remote import ChangingProgram


class ActionModule(ChangingProgram):
    """`done` names what was changed, or would be in check mode."""

    program = "host_files"
