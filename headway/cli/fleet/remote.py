"""A server's fleet, over its API."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import click

from headway.cli.fleet.client import Client, RequestRefused, ServerUnreachable
from headway.cli.fleet.fleets import FLEET, Page, Row
from headway.errors import ErrorKind


class RemoteFleet:
    """A server's fleet, as the account of a token sees it."""

    program = "headway fleet"
    unreachable = ServerUnreachable

    def __init__(self, client: Client) -> None:
        self.client = client

    def names(self, kind: str, start: str, limit: int) -> list[tuple[str, str]]:
        query = {"search": start} if start else {}
        rows, _ = self.client.page(f"/{kind}s", limit=limit, after=None, **query)
        note = "state" if kind == "project" else "position"
        return [(row["name"], row[note] or "") for row in rows]

    def project_id(self, name: str) -> int:
        return int(self.client.find("projects", name)["id"])

    def account_id(self, name: str) -> int:
        if name.isdecimal():
            return int(name)
        found = self.client.get("/accounts", email=name)["items"]
        if not found:
            words = f"There is no account with the address {name}."
            raise RequestRefused(words, ErrorKind.NOT_FOUND)
        return int(found[0]["id"])

    def member_id(self, project_id: int, name: str) -> int:
        project = self.client.get(f"/projects/{project_id}")["name"]
        try:
            return int(self.database(f"{project}/{name}")["id"])
        except RequestRefused as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
        found = self.database(name)
        if found["project_id"] != project_id:
            raise click.UsageError(
                f"{found['project']}/{found['name']} is not a database of {project}. A rollout is "
                "for one project."
            )
        return int(found["id"])

    def database(self, name: str) -> Row:
        return self.client.find("databases", name)

    def rollouts(self, *, stages: Sequence[str], **query: Any) -> Page:
        return self.client.page("/rollouts", stage=only("--stage", stages), **query)

    def rollout(self, rollout_id: int) -> Row:
        return self.client.get(f"/rollouts/{rollout_id}")

    def preview(self, what: int | Mapping[str, Any]) -> Row:
        if isinstance(what, int):
            return self.client.get(f"/rollouts/{what}/preview")
        return self.client.post("/rollouts/preview", what)

    def preview_undo(self, rollout_id: int) -> Row:
        return self.client.get(f"/rollouts/{rollout_id}/undo/preview")

    def create_rollout(self, values: Mapping[str, Any]) -> Row:
        return self.client.post("/rollouts", values)

    def step(self, rollout_id: int, verb: str, **options: Any) -> Row:
        return self.client.post(f"/rollouts/{rollout_id}/{verb}", options)

    def progress(self, rollout_id: int) -> Row:
        return self.client.get(f"/rollouts/{rollout_id}/progress")

    def count_workers(self) -> int:
        try:
            return len(self.client.get("/workers", limit=1)["items"])
        except RequestRefused as error:
            if error.status == HTTPStatus.FORBIDDEN:  # workers are not for members: say nothing
                return 1
            raise

    def runs(self, *, states: Sequence[str], **query: Any) -> Page:
        return self.client.page("/runs", state=only("--state", states), **query)

    def run(self, run_id: int) -> Row:
        return self.client.get(f"/runs/{run_id}")

    def plan(self, database: Row, kind: str, target: str) -> Row:
        where = f"/databases/{database['id']}/plan"
        return self.client.get(where, kind=kind, target=target or None)

    def start_run(self, database: Row, kind: str, target: str, **options: Any) -> Row:
        values = {"kind": kind, "target": target or None, **options}
        return self.client.post(f"/databases/{database['id']}/runs", values)


def only(option: str, values: Sequence[str]) -> str | None:
    """The one value of an option of which the API takes one."""
    if len(values) > 1:
        raise click.UsageError(f"Over the API, give {option} once.")
    return values[0] if values else None


def remote_fleet() -> RemoteFleet:
    """The fleet of this command, which is a server's."""
    made: RemoteFleet = click.get_current_context().meta[FLEET]()
    return made
