"""The only door that changes months."""
