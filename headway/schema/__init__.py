"""Schemas compared: with what revisions create, with models, with each other."""
