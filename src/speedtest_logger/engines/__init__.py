"""One module per measurement program: its command line, its output, its ways of failing."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from speedtest_logger.engines.contract import Engine


def get(name: str) -> Engine:
    """The engine of that name, one of catalogue.ENGINES; only the module that is needed is imported."""
    module = import_module(f"speedtest_logger.engines.{name}")
    engine: Engine = module.ENGINE
    return engine
