"""Options of the modules that are told what the archive host holds of the fleet, said once."""

from __future__ import annotations


class ModuleDocFragment:
    """Ansible's entry."""

    DOCUMENTATION = r"""
options:
  read:
    description: What M(speedtest.telemetry.fleet_run) has read of the archive host.
    type: dict
    required: true
  files:
    description: Paths of the archive's fleet files, by what they hold.
    type: dict
    required: true
  archive:
    description: How nodes reach the archive host, by transport.
    type: dict
    required: true
  host_key:
    description: The archive host's public key, where the inventory has it.
    type: str
    default: ""
  ca:
    description: The certificate that nodes trust, in place of the archive host's own.
    type: str
    default: ""
"""
