"""A role's desired state of the host at hand, the content of secret files included, which no plan and no output has."""

from __future__ import annotations

DOCUMENTATION = r"""
name: desired
short_description: The lists of host_state that a role wants on this host
description:
  - What a role's inputs make of this host, as the module M(speedtest.telemetry.host_state) compares it. It has the
    content of secret files, which no plan and no output has.
author: The speedtest-telemetry maintainers (!UNKNOWN)
options:
  _terms: {description: The role., required: true}
"""
EXAMPLES = r"""
lists: "{{ lookup('speedtest.telemetry.desired', 'speedtest_logger') }}"
"""
RETURN = r"""
_raw: {description: "For each role its lists, by kind of thing.", type: list, elements: dict}
"""

import sys
from pathlib import Path
from typing import Any

from ansible.plugins.lookup import LookupBase

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))
sys.path.insert(0, str(ROOT))

from plugins.desired.roles import wanted_by


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible-core has no types
    """For each role its lists."""

    def run(self, terms: list[str], variables: Any = None, **_: Any) -> list[dict[str, Any]]:
        return [wanted_by(role, variables, self._templar, {}).desired for role in terms]
