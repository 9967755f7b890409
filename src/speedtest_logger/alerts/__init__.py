"""Alerts: what is wrong with lines, nodes and the archive, told once, and once more when it is over."""
