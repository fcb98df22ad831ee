"""Connections to one database: where it is, who may migrate it, how it is held."""
