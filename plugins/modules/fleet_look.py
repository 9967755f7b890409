#!/usr/bin/python
"""What the action plugin of this name is told and answers; nothing of it runs on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_look
short_description: Look at all machines of the fleet at once
description:
  - One process of the control machine asks all machines what is there, and says which of them differ from what their
    roles want. It changes nothing.
  - This is an action plugin. It runs once, whatever the number of hosts.
author: The speedtest-telemetry maintainers (!UNKNOWN)
extends_documentation_fragment:
  - speedtest.telemetry.fleet_held
options:
  writing:
    description: Whether the run changes the fleet.
    type: bool
    default: true
  enrols:
    description: Look at nodes that pull, too.
    type: bool
    default: false
  programs:
    description: Command lines that are run on hosts besides, by role.
    type: dict
    default: {}
  seconds:
    description: After how long a machine that does not answer is left alone.
    type: float
"""

EXAMPLES = r"""
- name: Look at all machines
  speedtest.telemetry.fleet_look:
    read: "{{ fleet_read_before }}"
    files: "{{ fleet_files }}"
    archive: "{{ fleet_ways }}"
  run_once: true
  register: fleet_look
"""

RETURN = r"""
hosts:
  description: What was seen of each host that answered, by role.
  returned: success
  type: dict
due:
  description: Hosts that differ, and the groups that they are put into.
  returned: success
  type: list
  elements: dict
problems:
  description: Why a host could not be looked at.
  returned: success
  type: dict
"""
