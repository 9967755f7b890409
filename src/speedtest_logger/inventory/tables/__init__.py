"""Every input of every role, a module a role."""
