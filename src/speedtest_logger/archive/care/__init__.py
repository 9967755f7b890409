"""Proof, repair, backup and pruning."""
