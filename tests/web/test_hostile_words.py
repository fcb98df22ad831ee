"""Whatever people, databases and scripts write, on every page that anybody finds: text, no markup."""

from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.extensions import db
from headway.pytest_plugin import DatabaseTemplate
from tests.fleet.fleets import fleet_on
from tests.web import walking
from tests.web.furnished import Furnished, furnish
from tests.web.walking import Visitor

EVIL = "'\"><x-evil onload=x>{{7*6}}"
WRITTEN = {
    "account": ("name", "description", "email", "location"),
    "boot": ("host",),
    "database": ("name", "notes", "address", "pin_reason", "reason", "server"),
    "difference": ("says", "mend"),
    "event": ("actor_name", "request_id"),
    "ignored": ("says", "reason", "by_name"),
    "label": ("name", "value"),
    "project": ("name", "location", "notes", "problem"),
    "revision": ("message", "path", "script"),
    "rollout": ("title", "reason", "by_name"),
    "run": ("error", "log", "server", "snapshot", "worker"),
    "run_sql": ("text",),
    "token": ("name",),
    "worker": ("host",),
}
"""What people, databases, scripts and machines write, by table."""
LEADS = ("href", "src", "action", "formaction")
SHOWN = 30
"""Of the columns, so many are on a page."""


@pytest.fixture(scope="module")
def hostile(
    template: Callable[[str], DatabaseTemplate], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Furnished]:
    """The fleet of all positions and stages, in which every text is another attack."""
    folder: Path = tmp_path_factory.mktemp("hostile")
    with template("sqlite").copy() as url, fleet_on(url, folder) as fleet:
        furnished = furnish(fleet)
        db.session.rollback()
        with db.engine.begin() as connection:
            for name, columns in WRITTEN.items():
                rows = sa.literal_column("rowid").cast(sa.String)
                said = {key: f"{EVIL}{name}.{key}." + rows for key in columns}
                connection.execute(db.metadata.tables[name].update().values(said))
        yield furnished


class Shown(HTMLParser):
    """The words, elements and attributes of a page, as a browser reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.words += [value or "" for _, value in attrs]
        self.wrong += [tag] if "evil" in tag else []
        self.wrong += [
            f"{tag} {name}={value}"
            for name, value in attrs
            if name.startswith("on")
            or (name in LEADS and ":" in (value or "").partition("?")[0] and value != "data:,")
        ]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_every_text_is_text_on_every_page(hostile: Furnished) -> None:
    shown = Shown()
    for path, text in walking.walk(Visitor(hostile.app, hostile.tokens["admin"])).items():
        shown.feed(text)
        assert shown.wrong == [], path
    words = "\n".join(shown.words)
    every = {f"{name}.{key}" for name, keys in WRITTEN.items() for key in keys}
    found = {one for one in every if f"{EVIL}{one}." in words}
    assert len(found) >= SHOWN, every - found
