"""Which packs are missing, and how trials are grouped into packs."""
