#!/usr/bin/python
"""What the action plugin of this name is told and answers; nothing of it runs on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_invite
short_description: Invite machines that nobody can reach to become nodes
description:
  - For each host of the play it makes an invitation, which is used once, and the command by which the machine enrols.
  - This is an action plugin. No connection to a node is opened.
author: The speedtest-telemetry maintainers (!UNKNOWN)
options:
  folder:
    description: Where bundles were written.
    type: path
    required: true
  hours:
    description: For how many hours an invitation is open.
    type: float
    required: true
  current:
    description: The archive host's file of invitations as it is.
    type: str
"""

EXAMPLES = r"""
- name: Invite them
  speedtest.telemetry.fleet_invite:
    folder: bundles
    hours: 24
  run_once: true
"""

RETURN = r"""
commands: {description: "What is typed on each machine. It holds the invitation.", returned: success, type: list}
invitations: {description: The archive host's file of invitations as it shall be., returned: success, type: str}
"""
