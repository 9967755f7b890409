"""The inventory: every input of every role, its domain, and what is wrong with what somebody has written."""
