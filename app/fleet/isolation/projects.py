"""The projects that a child process has read, and their databases."""

import threading
from collections.abc import Mapping
from typing import Any

from sqlalchemy import URL

from app.errors import ProjectNotReady
from app.fleet.isolation.messages import ScriptLocation, Target, Version
from headway.database import Database
from headway.project import Extended, Project
from headway.words import Words

WORDS = Words(
    settings={"x": "an -x argument of the project (or of this database)", "schema": "{schema}"}
)
"""How what the library says is understood here."""


class Projects:
    """The projects that were read, kept by digest so that what was planned is what runs."""

    def __init__(self) -> None:
        self.known: dict[ScriptLocation, dict[str, Project]] = {}
        self.reading = threading.Lock()

    def newest(self, place: ScriptLocation) -> Project:
        """The project as its files are now."""
        beside = place.extra_folder  # a folder of our own, which does not change
        project = self._extended(place) if beside else Project.shared(place.folder, place.ini)
        digest = project.digest
        with self.reading:
            others = self.known.get(place, {})
            if others.get(digest) is not project:
                newest = list(others.items())[-1:]
                self.known[place] = {k: v for k, v in newest if k != digest} | {digest: project}
        return project

    def get(self, scripts: Version) -> Project:
        """The project at a digest. Raises ProjectNotReady if its files have changed since."""
        known = self.known.get(scripts.place, {}).get(scripts.digest)
        known = known or self.newest(scripts.place)
        if known.digest != scripts.digest:
            raise ProjectNotReady(
                f"The scripts in {scripts.place.folder} changed a moment ago. Nothing was done; "
                "the run is tried again automatically."
            )
        return known

    def _extended(self, place: ScriptLocation) -> Project:
        for project in self.known.get(place, {}).values():
            return project
        project = Extended(place.folder, place.ini, str(place.extra_folder))
        project.scripts  # noqa: B018  # read now, so that a hole is found now
        return project


projects = Projects()


def database_of(target: Target) -> Database:
    """The database that a request is for. Raises ProjectNotReady as `Projects.get` does."""
    return database_at(projects.get(target.scripts), target.url, target.x, **target.policy)


def database_at(project: Project, url: URL, x: Mapping[str, str], **policy: Any) -> Database:
    """A database of a project as it is opened here."""
    return project.at(url, x, words=WORDS, explicit_schema=True, **policy)
