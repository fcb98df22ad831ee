"""Schemas of the API's requests and responses. Lengths are those of the columns."""
