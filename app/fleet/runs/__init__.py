"""Runs: one operation on one database, claimed, executed and recorded by a worker."""

from app.fleet.runs.queries import get_run, list_of_rollout, list_runs, names_of, sql_of

__all__ = ["get_run", "list_of_rollout", "list_runs", "names_of", "sql_of"]
