"""The archive side. receive imports the standard library only; the rest needs the extra `archive`."""
