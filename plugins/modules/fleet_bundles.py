#!/usr/bin/python
"""What the action plugin of this name is told and answers; nothing of it runs on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_bundles
short_description: Write a signed bundle for each node that pulls
description:
  - A bundle says what the playbook C(speedtest.telemetry.site) would bring to the node.
  - This is an action plugin. No connection to a node is opened.
author: The speedtest-telemetry maintainers (!UNKNOWN)
extends_documentation_fragment:
  - speedtest.telemetry.fleet_held
options:
  key:
    description: The file of the private key that signs bundles.
    type: path
    required: true
  folder:
    description: Where bundles are written.
    type: path
    required: true
  valid_days:
    description: For how many days a node takes a bundle.
    type: float
    required: true
"""

EXAMPLES = r"""
- name: Write and sign the bundles
  speedtest.telemetry.fleet_bundles:
    read: "{{ fleet_read }}"
    files: "{{ fleet_files }}"
    archive: "{{ fleet_ways }}"
    key: ~/.ssh/bundles
    folder: bundles
    valid_days: 30
  run_once: true
"""

RETURN = r"""
files:
  description: Bundles that were written.
  returned: success
  type: list
  elements: str
named:
  description: The releases and images that they name.
  returned: success
  type: list
  elements: str
hosts:
  description: The nodes that they are for.
  returned: success
  type: list
  elements: str
"""
