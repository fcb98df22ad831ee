"""Make the shop's databases: one file a customer, as an older release left them.

python examples/fleet/make.py data 1000             # data/shop-0001.db and on, at s0001
python examples/fleet/make.py data 1000 --broken 3  # three of them have a table that is in the way
"""

import argparse
import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from headway import Project

SCRIPTS = Path(__file__).parent / "migrations"
CITIES = ("Aachen", "Bonn", "Celle", "Dessau")
BROKEN_EVERY = 7
"""A number that no other is cut by, so that the broken ones lie in several waves."""


def make(folder: Path, count: int, broken: int = 0) -> Iterator[Path]:
    """The files, one after the other; those that are there stay as they are."""
    folder.mkdir(parents=True, exist_ok=True)
    project = Project.load(SCRIPTS)
    bad = {count * (n + 1) // BROKEN_EVERY for n in range(broken)}
    for number in range(1, count + 1):
        path = folder / f"shop-{number:04}.db"
        if not path.exists():
            project.at(path).create("s0001")
            fill(path, number, broken=number in bad)
        yield path


def fill(path: Path, number: int, *, broken: bool) -> None:
    """Some rows; in a broken one a table that s0003 wants to make."""
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO customer (name, city) VALUES (?, ?)",
            [(f"Customer {number}-{n}", CITIES[n % len(CITIES)]) for n in range(20)],
        )
        connection.executemany(
            "INSERT INTO purchase (customer_id, cents) VALUES (?, ?)",
            [(n % 20 + 1, 100 * n) for n in range(100)],
        )
        if broken:
            connection.execute("CREATE TABLE city (made_by_hand TEXT)")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("count", type=int, nargs="?", default=1000)
    parser.add_argument("--broken", type=int, default=0)
    given = parser.parse_args()
    made = sum(1 for _ in make(given.folder, given.count, given.broken))
    print(f"{made} databases in {given.folder}")


if __name__ == "__main__":
    main()
