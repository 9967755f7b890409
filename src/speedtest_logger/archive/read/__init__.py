"""Questions to the archive; nothing here writes to it."""
