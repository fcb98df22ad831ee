"""The pictures of the documentation, taken of a real fleet that real workers migrate.

    python -m tests.browser.screenshots docs/img --site /srv/headway

The shop of `examples/fleet`: four hundred customers, of whom some were migrated before, some were
changed by hand, and three have a table that is in the way.
"""

import argparse
import itertools
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy.engine import URL

from app import create_app
from app.extensions import db
from app.fleet import databases, projects, rollouts
from app.fleet.accounts import tokens
from app.fleet.databases import import_sources
from app.fleet.projects import scripts
from app.models import Role, Rollout
from examples.fleet import make as shop
from tests.browser.people import Person, open_chromium
from tests.conftest import settings_for
from tests.fleet.conftest import ROOT, person
from tests.fleet.sites import KEY, Site, answers

COUNT = 400
PHONE = {"width": 390, "height": 844}
WIDE = {"width": 1280, "height": 860}


class Pictures:
    """A site, its fleet, and somebody at a browser."""

    def __init__(self, app: Flask, site: Site, project_id: int, out: Path) -> None:
        self.app, self.site, self.project_id, self.out = app, site, project_id, out

    def start(self, **values: Any) -> Rollout:
        """A rollout that goes on."""
        made, _ = rollouts.create_rollout(ROOT, {"project_id": self.project_id, **values})
        return rollouts.start_rollout(ROOT, made.id)

    def finish(self, **values: Any) -> Rollout:
        """One that has ended."""
        rollout = self.start(**values)
        self.site.until(lambda: self.stage(rollout) in ("succeeded", "halted"))
        return rollout

    def stage(self, rollout: Rollout) -> str:
        return str(rollouts.get_rollout(ROOT, rollout.id).stage)

    def take(self, somebody: Person, name: str, path: str = "", **how: Any) -> None:
        """The page at this address, or the one that is there, as a picture."""
        if path:
            somebody.go(path)
        size = WIDE | {name: how[name] for name in how.keys() & WIDE.keys()}
        somebody.page.set_viewport_size(size)  # type: ignore[arg-type]
        somebody.page.screenshot(path=self.out / f"{name}.png", animations="disabled")


@contextmanager
def on_site(folder: Path, out: Path) -> Iterator[Pictures]:
    """A catalog and its server; the files of four hundred customers in this folder."""
    shutil.copytree(shop.SCRIPTS, folder / "scripts")
    for _ in shop.make(folder / "members", COUNT, broken=3):
        pass
    with tempfile.TemporaryDirectory() as name:
        url = URL.create("sqlite", database=f"{name}/catalog.sqlite")
        roots = {"data_roots": (folder,), "project_roots": (folder,), "encryption_keys": (KEY,)}
        app = create_app(settings_for(url, log_level="error", **roots))
        with app.app_context():
            asked = {"name": "shop", "location": str(folder / "scripts")}
            project_id = projects.create_project(ROOT, asked)[0].id
            assert scripts.load(project_id).problem is None
            site = Site(None, url, folder)  # type: ignore[arg-type]
            try:
                yield Pictures(app, site, project_id, out)
            finally:
                site.end()
                db.session.remove()
                db.engine.dispose()


def register(pictures: Pictures, folder: Path) -> None:
    rows = [dict(row) for row in import_sources.from_files(str(folder / "members" / "*.db"))]
    for row, tier in zip(rows, itertools.cycle(("gold", "silver", "bronze")), strict=False):
        row["labels"] = {"tier": tier}
    done = databases.register_many(ROOT, pictures.project_id, rows)
    assert done.added == COUNT, done


def history(pictures: Pictures, folder: Path) -> None:
    """What was done before: some at the head, some half-way, some changed by hand."""
    first, second = list(range(2, 52)), list(range(180, 300))
    pictures.finish(title="Pilot customers", selector={"ids": first}, waves=["1", "100%"])
    pictures.finish(title="Paid", target="s0002", selector={"ids": second}, waves=["10%", "100%"])
    for number in second[:9]:
        with closing(sqlite3.connect(folder / "members" / f"shop-{number:04}.db")) as connection:
            connection.execute("CREATE INDEX ix_customer_city ON customer (city)")
            if number % 3 == 0:
                connection.execute("ALTER TABLE customer ADD COLUMN vip INTEGER")
    pictures.finish(kind="check", title="Nightly check", selector={"ids": second[:60]})


def shoot(pictures: Pictures, ada: Person) -> None:
    values = {"title": "Cities", "waves": ["1", "5%", "25%", "100%"], "gate": {"failures": 2}}
    made, _ = rollouts.create_rollout(
        ROOT, {"project_id": pictures.project_id, "concurrency": 1, **values}
    )
    path = f"/rollouts/{made.id}"
    pictures.take(ada, "rollout-preview", path)
    rollouts.start_rollout(ROOT, made.id)
    ada.go(path)
    ada.page.get_by_text("The first error").wait_for()
    pictures.take(ada, "rollout-live", height=1020)
    pictures.site.until(lambda: pictures.stage(made) == "halted")
    pictures.take(ada, "overview", "/", height=1000)
    pictures.take(ada, "database", "/databases/180", height=1000)
    pictures.take(ada, "drift", "/drifts/", height=440)
    ada.in_the_dark()
    pictures.take(ada, "rollout-phone", path, **PHONE)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--site", type=Path, required=True, help="a folder that is not there yet")
    given = parser.parse_args()
    folder = given.site.resolve()
    folder.mkdir(parents=True)
    try:
        with on_site(folder, given.out) as pictures:
            register(pictures, folder)
            _, port = pictures.site.serve(2)
            pictures.site.until(lambda: answers(port))
            account, _ = person(Role.OPERATOR, "Ada")
            issued, _ = tokens.issue_token(ROOT, account_id=account.id, name="mine", expires_days=1)
            history(pictures, folder)
            with open_chromium() as browser:
                ada = Person(browser, f"http://127.0.0.1:{port}")
                ada.sign_in(issued.text or "")
                shoot(pictures, ada)
                assert not ada.complaints, ada.complaints
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
