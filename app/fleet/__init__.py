"""Many databases: every use case, called by the API, the command line and the pages alike.

Each package here is one noun. What its `__init__` names is for the rest of the service; its other
modules are for the packages above it, in the order that import-linter keeps (pyproject.toml).
"""
