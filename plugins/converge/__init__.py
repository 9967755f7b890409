"""A node that brings itself to what its bundle says: standard library only, shipped with each release."""
