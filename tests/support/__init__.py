"""Bad luck to order: servers of a test's own, a network that can be cut, commands that can be killed at any moment."""
