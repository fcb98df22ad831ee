"""Refresh: read the status of many databases at once, within a time limit."""
