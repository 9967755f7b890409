"""Have systemd units enabled and running, restarted, or stopped and disabled, in one remote call."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))
sys.path.insert(0, str(ROOT))

from plugins.remote import ChangingProgram


class ActionModule(ChangingProgram):
    """`done` names units and what was done to each, or would be in check mode."""

    program = "host_units"
