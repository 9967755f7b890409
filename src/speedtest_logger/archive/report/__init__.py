"""A location's report: figures, charts, one page."""
