"""Sinks: places outside the archive that follow it. Each stands on what reads the archive; none writes it."""
