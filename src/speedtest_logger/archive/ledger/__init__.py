"""What is known of the files: the manifest and the index."""
