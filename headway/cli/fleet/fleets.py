"""A fleet as commands see it: a server's over its API, or that of the catalog here.

Rows are values as the API answers them.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import click

Row = Any
Page = tuple[Sequence[Row], int | None]
"""Rows of a list, and the `after` of those that follow."""

FLEET = "headway.fleet"
"""In `ctx.meta`: a function that makes the fleet of the command."""


class Fleet(Protocol):
    """What commands ask of a fleet. A fleet refuses by errors whose message is for people."""

    @property
    def program(self) -> str:
        """What stands before `rollouts watch 1`."""

    @property
    def unreachable(self) -> type[Exception]:
        """What is raised while it cannot answer."""

    def names(self, kind: str, start: str, limit: int) -> list[tuple[str, str]]:
        """Names of projects or databases, with a note each; at least those that begin so."""

    def project_id(self, name: str) -> int:
        """The id of a project, given by name or id."""

    def account_id(self, name: str) -> int:
        """The id of an account, given by id or e-mail address."""

    def member_id(self, project_id: int, name: str) -> int:
        """The id of a database of this project; another project may have one of the same name."""

    def database(self, name: str) -> Row:
        """A database by name, project/name or id."""

    def rollouts(
        self, *, project_id: int | None, stages: Sequence[str], limit: int, after: int | None
    ) -> Page:
        """A page of the rollouts, newest first."""

    def rollout(self, rollout_id: int) -> Row:
        """A rollout."""

    def preview(self, what: int | Mapping[str, Any]) -> Row:
        """What a rollout would do; or a new one of these values."""

    def preview_undo(self, rollout_id: int) -> Row:
        """What its undo would do."""

    def create_rollout(self, values: Mapping[str, Any]) -> Row:
        """A new rollout, not started."""

    def step(self, rollout_id: int, verb: str, **options: Any) -> Row:
        """The rollout after this step: start, pause, approve and so on."""

    def progress(self, rollout_id: int) -> Row:
        """How far a rollout is."""

    def count_workers(self) -> int:
        """How many workers are alive; perhaps 1 for any number, or if that may not be read."""

    def runs(
        self,
        *,
        rollout_id: int | None,
        database_id: int | None,
        states: Sequence[str],
        kind: str | None,
        replaced: bool,
        limit: int,
        after: int | None,
    ) -> Page:
        """A page of the runs, in the order of creation."""

    def run(self, run_id: int) -> Row:
        """A run with its log and SQL."""

    def plan(self, database: Row, kind: str, target: str) -> Row:
        """What an operation on one database would do."""

    def start_run(self, database: Row, kind: str, target: str, **options: Any) -> Row:
        """The rollout of an operation on one database, started."""


def fleet_here() -> Fleet:
    """The fleet of this command."""
    made: Fleet = click.get_current_context().meta[FLEET]()
    return made
