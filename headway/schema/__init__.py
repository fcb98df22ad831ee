"""Schemas compared: with what their revisions make, with models, with each other."""
