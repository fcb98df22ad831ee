"""Refresh: ask the databases where they stand, many at once, within a time limit."""
