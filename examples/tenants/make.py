"""Make the database of all customers: a schema for each, as an older release left them.

python examples/tenants/make.py postgresql://postgres@127.0.0.1/tenants             # 50 of them
python examples/tenants/make.py postgresql://postgres@127.0.0.1/tenants 200 --broken 3
"""

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg import sql

from headway import Project
from headway.dialects import dialect_of
from headway.dialects.urls import DatabaseURL

HERE = Path(__file__).parent
CITIES = ("Aachen", "Bonn", "Celle", "Dessau")
GOLD_EVERY = 5
BROKEN_EVERY = 23


def make(url: DatabaseURL, count: int, broken: int = 0) -> Iterator[str]:
    """The names of the schemas, one after the other; those that are there stay as they are."""
    dialect = dialect_of(url)
    if not dialect.exists(url):
        dialect.make(url)
    Project.load(HERE / "shared").at(url).upgrade("s0001")
    tenants = Project.load(HERE / "tenants")
    with psycopg.connect(plain(url), autocommit=True) as raw:
        for number in range(1, count + 1):
            tier = "gold" if number % GOLD_EVERY == 0 else "free"
            name = f"shop_{tier}_{number:02}"
            with contextlib.suppress(psycopg.errors.DuplicateSchema):
                raw.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
                tenants.at(url.in_schema(name)).upgrade("t0001")
                is_broken = number % BROKEN_EVERY == 0 and number <= broken * BROKEN_EVERY
                fill(raw, name, broken=is_broken)
            yield name


def fill(raw: psycopg.Connection, name: str, *, broken: bool) -> None:
    """Some rows; in a broken one a table that t0003 wants to make."""
    with raw.transaction(), raw.cursor() as cursor:
        cursor.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(name)))
        cursor.executemany(
            "INSERT INTO customer (name, city) VALUES (%s, %s)",
            [(f"Customer {n} of {name}", CITIES[n % len(CITIES)]) for n in range(20)],
        )
        if broken:
            cursor.execute("CREATE TABLE city (made_by_hand TEXT)")


def plain(url: DatabaseURL) -> str:
    """As psycopg itself takes it."""
    return DatabaseURL.of(url.set(drivername="postgresql")).text()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("url", type=DatabaseURL.parse)
    parser.add_argument("count", type=int, nargs="?", default=50)
    parser.add_argument("--broken", type=int, default=0)
    given = parser.parse_args()
    made = sum(1 for _ in make(given.url, given.count, given.broken))
    print(f"{made} tenants in {given.url}")


if __name__ == "__main__":
    main()
