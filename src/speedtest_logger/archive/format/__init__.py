"""How bytes lie on disk: layout, schemas, month files, digests."""
