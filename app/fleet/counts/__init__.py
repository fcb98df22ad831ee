"""Counts that are kept with every change, so that no overview counts all databases or runs."""
