#!/usr/bin/python
"""What the action plugin of this name is told and answers; nothing of it runs on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_says
short_description: Tell a person something
description:
  - The callback P(speedtest.telemetry.fleet#callback) prints the lines as they are; others show them as a result.
  - This is an action plugin. Nothing runs on a host.
author: The speedtest-telemetry maintainers (!UNKNOWN)
options:
  lines:
    description: What is said.
    type: list
    elements: str
    required: true
  failed:
    description: Whether the run ends with an error for it.
    type: bool
    default: false
  problems_fail:
    description: Whether it does where a line is about a problem, which begins with a dash and a space.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Say how it went
  speedtest.telemetry.fleet_says:
    lines: [all is well]
"""

RETURN = r"""
fleet_says:
  description: The lines.
  returned: always
  type: list
  elements: str
"""
