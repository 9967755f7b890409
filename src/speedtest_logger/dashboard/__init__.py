"""Pages, API and live updates over an archive: they read it, and can write nothing in it."""
