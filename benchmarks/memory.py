"""What one embedded worker keeps: its memory after 100 databases and after thousands.

    python benchmarks/memory.py
    python benchmarks/memory.py --databases 1000 --python

`--python` makes revisions that are never replayed as SQL, so that each database runs Python.
"""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

import psutil
from sqlalchemy.engine import URL

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from app.extensions import db
from app.fleet import databases
from app.fleet.refresh import refresh
from app.models import State
from headway import Project as Scripts
from tests.conftest import boot
from tests.fleet.fleets import ROOT
from tests.fleet.sites import Site, site_on
from tests.migrator.scripts import write_revision

ALLOWED = 1.20


def register(site: Site, count: int) -> None:
    """Copies of one file at `r001`."""
    first = site.fleet.folder / "d0.db"
    Scripts.load(site.folder / "scripts").at(first).create("r001")
    for number in range(1, count):
        shutil.copyfile(first, site.fleet.folder / f"d{number}.db")
    rows = [
        {"name": f"n{n}", "url": f"sqlite:///{site.fleet.folder}/d{n}.db"} for n in range(count)
    ]
    databases.register_many(ROOT, site.fleet.project_id, rows)
    refresh.refresh(site.fleet.project_id)
    db.session.rollback()


def measure(site: Site, count: int, marks: list[int]) -> dict[int, float]:
    """MiB of the worker when so many are done."""
    register(site, count)
    site.supervise(1)
    worker = psutil.Process(site.until_alive(1)[0].pid)
    rollout = site.fleet.start()
    db.session.rollback()
    seen, began = {}, time.monotonic()
    for mark in marks:
        site.until(lambda mark=mark: done(site, rollout) >= mark, 3600)  # type: ignore[misc]
        seen[mark] = worker.memory_info().rss / 2**20
        took = time.monotonic() - began
        print(f"{mark:6} databases: {seen[mark]:6.1f} MiB after {took:5.0f} s", flush=True)
    return seen


def done(site: Site, rollout: object) -> int:
    """How many are done. Ends the program where one has failed."""
    states = site.states(rollout)  # type: ignore[arg-type]
    if states.get(State.FAILED):
        sys.exit(f"A run failed: {states}")
    return states.get(State.SUCCEEDED, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--databases", type=int, default=5000)
    parser.add_argument("--python", action="store_true")
    given = parser.parse_args()
    marks = [100, *(given.databases * part // 5 for part in range(1, 6))]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = URL.create("sqlite", database=str(folder / "catalog.sqlite"))
        boot(url)
        with site_on(url, folder) as site:
            if given.python:  # it asks the database, so that no SQL is proven for others
                ask = 'op.get_bind().execute(sa.text("SELECT count(*) FROM log")).scalar()'
                write_revision(folder / "scripts", "r004", "r003", [ask])
                site.fleet.load()
            seen = measure(site, given.databases, marks)
    grown = seen[marks[-1]] / seen[100]
    print(f"{(grown - 1) * 100:+.1f} % from 100 to {marks[-1]}")
    sys.exit(grown > ALLOWED)


if __name__ == "__main__":
    main()
