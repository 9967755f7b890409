"""A node: it measures, keeps, delivers. Standard library only."""
