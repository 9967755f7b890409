"""An archive that several hosts share: one inbox in an object store, one of them takes it in, the others follow."""
