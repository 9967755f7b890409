"""One module per probe: what it asks of a target, what the answers mean, its ways of failing."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from speedtest_logger.probes.contract import Probe


def get(name: str) -> Probe:
    """The probe of that name, one of catalogue.PROBES; only the module that is needed is imported."""
    module = import_module(f"speedtest_logger.probes.{name}")
    probe: Probe = module.PROBE
    return probe
