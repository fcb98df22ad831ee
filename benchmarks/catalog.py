"""What the catalog is asked all the time, with a thousand and with a hundred thousand databases.

    python benchmarks/catalog.py                   # SQLite and PostgreSQL, 1,000 to 100,000
    python benchmarks/catalog.py --only sqlite --sizes 1000 10000

Rows of databases (there is nothing behind their addresses) on three positions, with labels, and a
rollout of all of them of which half is done. Each question is asked many times; the median counts.
"x" is beside the same question with the fewest databases: flat is 1.
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import URL

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from app.extensions import db
from app.fleet import databases, rollouts, runs
from app.fleet.core.permissions import Actor
from app.fleet.core.selectors import Selector
from app.fleet.core.transactions import writing
from app.fleet.counts import label_counts, positions, tallies
from app.fleet.reports import overview
from app.fleet.rollouts import progress
from app.fleet.runs import claims
from app.models import Database, Kind, Label, Role, Run, State
from tests import servers
from tests.conftest import database_on
from tests.fleet.fleets import fleet_on

ME = Actor(id=None, name="benchmark", role=Role.ADMIN)
TIMES = 40
POSITIONS = (("at_head", "r002"), ("behind", "r001"), ("behind", "r001"), ("unreachable", "r001"))


def fill(project_id: int, count: int) -> int:
    """So many databases of this project, and a rollout of them that has begun; its id."""
    with writing() as session:
        for start in range(0, count, 5000):
            numbers = range(start, min(start + 5000, count))
            session.execute(
                sa.insert(Database),
                [
                    {
                        "project_id": project_id,
                        "name": f"customer-{number:06}",
                        "address": f"postgresql://app:***@db{number % 20}/customer_{number:06}",
                        "identity": f"{number:064}",
                        "dialect": "postgresql",
                        "server": f"postgresql://db{number % 20}:5432",
                        "position": POSITIONS[number % 4][0],
                        "current": POSITIONS[number % 4][1],
                    }
                    for number in numbers
                ],
            )
        first = session.scalar(sa.select(sa.func.min(Database.id))) or 1
        for start in range(0, count, 5000):
            session.execute(
                sa.insert(Label),
                [
                    {"database_id": first + number, "name": "tier", "value": tier(number)}
                    for number in range(start, min(start + 5000, count))
                ],
            )
        positions.recount(session, [project_id])
        label_counts.settle(session, project_id)
    analyze()
    values = {"project_id": project_id, "target": "r002", "waves": ["100%"], "concurrency": 1000}
    made, _ = rollouts.create_rollout(ME, values)
    began = time.perf_counter()
    rollouts.start_rollout(ME, made.id)
    print(f"  {count:,} databases: the rollout began in {time.perf_counter() - began:.1f} s")
    end_half(made.id, count)
    analyze()
    return made.id


def end_half(rollout_id: int, count: int) -> None:
    """As workers would: batches of runs that have succeeded, over the last minutes."""
    now = datetime.now(UTC)
    half = Run.seq < count // 2
    with writing() as session:
        session.execute(
            sa.update(Run)
            .where(Run.rollout_id == rollout_id, half)
            .values(state=State.SUCCEEDED, started_at=now, finished_at=now, seconds=0.01),
            execution_options={"synchronize_session": False},
        )
        wave = tallies.Wave(Kind.UPGRADE, 0)
        for batch in range(200):
            ended = [now - timedelta(seconds=batch)]
            tallies.add(session, rollout_id, wave, tallies.Tally(succeeded=1, seconds=0.01), ended)
        tallies.settle(session, rollout_id)


def tier(number: int) -> str:
    return ("gold", "silver", "bronze", "bronze")[number % 4] if number % 100 else "trial"


def analyze() -> None:
    """What a server does by itself now and then."""
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        vacuum = db.engine.name == "postgresql"
        connection.exec_driver_sql("VACUUM ANALYZE" if vacuum else "ANALYZE")


def questions(rollout_id: int, count: int) -> dict[str, Callable[[], object]]:
    """What is asked, by name."""
    middle = count // 2

    def listed(after: int | None = None, **selector: object) -> Callable[[], object]:
        chosen = Selector.of(selector)
        return lambda: databases.list_databases(ME, chosen, limit=50, after=after)

    def counted(**selector: object) -> Callable[[], object]:
        chosen = Selector.of(selector)
        return lambda: databases.count_databases(ME, chosen)

    return {
        "overview": lambda: overview.overview(ME),
        "overview, by a label": lambda: overview.overview(ME, by="label.tier"),
        "list, a page from the middle": listed(middle),
        "list, behind": listed(positions=["behind"]),
        "list, behind, from the middle": listed(middle, positions=["behind"]),
        "list, at a revision": listed(current="r001", project_id=1),
        "list, with a label": listed(labels={"tier": "gold"}),
        "list, with a rare label": listed(labels={"tier": "trial"}),
        "list, name": listed(search=f"customer-{middle:06}"),
        "list, a part of a name": listed(search=f"{middle:06}"),
        "list, a part that few have": listed(search=f"{middle:06}"[:5]),
        "list, a part that all have": listed(search="customer"),
        "count, a part that few have": counted(search=f"{middle:06}"[:5]),
        # Before the claims, which leave a small rollout with nothing to do.
        "anything to do?": lambda: claims.next_ids(1),
        "claim one": lambda: claims.claim("me", 1),
        "claim ten": lambda: claims.claim("me", 10),
        "progress of the rollout": lambda: progress.progress(ME, rollout_id),
        "runs of the rollout": lambda: runs.list_runs(ME, limit=50, rollout_id=rollout_id),
    }


def measure(url: URL, count: int) -> dict[str, float]:
    with (
        tempfile.TemporaryDirectory() as folder,
        fleet_on(url, Path(folder), revisions=2, log_level="warning") as fleet,
    ):
        asked = questions(fill(fleet.project_id, count), count)
        found = {}
        for name, ask in asked.items():
            times = []
            for _ in range(TIMES):
                began = time.perf_counter()
                ask()
                times.append((time.perf_counter() - began) * 1000)
                db.session.rollback()
            found[name] = statistics.median(times)
    return found


def show(title: str, found: dict[int, dict[str, float]]) -> None:
    sizes = sorted(found)
    print(f"\n{title:<32}" + "".join(f"{size:>12,}" for size in sizes) + "       x")
    for name in found[sizes[0]]:
        row = [found[size][name] for size in sizes]
        cells = "".join(f"{value:>9.2f} ms" for value in row)
        print(f"  {name:<30}{cells}  {row[-1] / row[0]:6.1f}")


@contextlib.contextmanager
def place(kind: str) -> Iterator[Callable[[], URL]]:
    """Makes empty databases of one kind."""
    with contextlib.ExitStack() as stack:
        if kind == "sqlite":
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            numbers = iter(range(100))
            yield lambda: URL.create("sqlite", database=str(folder / f"{next(numbers)}.sqlite"))
        else:
            server = stack.enter_context(getattr(servers, kind)())
            yield lambda: stack.enter_context(database_on(server))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("sqlite", "postgresql", "mariadb"), action="append")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    given = parser.parse_args()
    for kind in given.only or ("sqlite", "postgresql"):
        with place(kind) as make:
            show(kind, {size: measure(make(), size) for size in given.sizes})


if __name__ == "__main__":
    main()
