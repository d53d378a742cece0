"""A stored study: where it lies and how far it has come."""
