"""Measure an internet line on schedule, keep every result, deliver it with a receipt."""

__version__ = "0.2.0"
