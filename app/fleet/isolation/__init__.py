"""A process of its own for projects' code, which never sees the catalog, and its messages."""
