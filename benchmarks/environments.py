"""Alembic environments that other programs ship, unchanged: Headway beside Alembic's own commands.

    pip download --no-deps optuna mlflow-skinny dagster …   # or have them installed
    PYTHONPATH=folder/of/packages python benchmarks/environments.py
    python benchmarks/environments.py optuna --markdown

Installs nothing: what cannot be imported here is left out. Each environment is tried on SQLite
files, with Alembic in processes of its own. The columns: upgrade, down to base and up again, and
create leave what Alembic leaves; `check` of an untouched database finds nothing; `adopt` finds
the revision; the preview renders; the rehearsal agrees; env.py's mode; how many of three further
upgrades were replayed; milliseconds of one upgrade from nothing beside Alembic's.
"""

import argparse
import importlib.util
import sys
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.differential.dumps import without_chance
from tests.differential.worker import Server

KNOWN = {
    "optuna": "storages/_rdb/alembic",
    "mlflow": "store/db_migrations",
    "mlflow (auth)": "server/auth/db/migrations",
    "jupyterhub": "alembic",
    "buildbot": "db/migrations",
    "dagster": "_core/storage/alembic",
    "glance": "db/sqlalchemy/alembic_migrations",
    "keystone": "common/sql/migrations",
    "aiida": "storage/sqlite_zip/migrations",
    "quetz": "migrations",
    "phoenix": "db/migrations",
    "zenml": "zen_stores/migrations",
    "prefect": "server/database/_migrations",
}


@dataclass
class Row:
    """What came of one environment."""

    environment: str
    upgrade: str = "-"
    down_up: str = "-"
    create: str = "-"
    drift: str = "-"
    adopt: str = "-"
    preview: str = "-"
    rehearse: str = "-"
    mode: str = "-"
    replayed: str = "-"
    ms: str = "-"
    ms_alembic: str = "-"


def location(name: str) -> Path | None:
    """Where its scripts are, without importing it."""
    found = importlib.util.find_spec(name.split(" ", maxsplit=1)[0])
    if found is None or not found.submodule_search_locations:
        return None
    folder = Path(found.submodule_search_locations[0]) / KNOWN[name]
    return folder if (folder / "env.py").is_file() else None


def options_of(scripts: Path) -> str:
    """Its alembic.ini; "" if it ships none."""
    places = (scripts / "alembic.ini", scripts.parent / "alembic.ini")
    return next((str(place) for place in places if place.is_file()), "")


def tried(name: str, scripts: Path, alembic: Server, headway: Server) -> Row:
    """Try one environment."""
    row, ini = Row(name), options_of(scripts)
    with tempfile.TemporaryDirectory(prefix="environments-") as folder:
        root = Path(folder).resolve()
        home = {"HOME": str(root), "PYTHONWARNINGS": "ignore"}
        theirs, ours = ([f"sqlite:///{root}/{s}{n}.db" for n in range(5)] for s in ("a", "h"))
        moves: list[list[Any]] = [["upgrade", "heads"], ["downgrade", "base"], ["upgrade", "heads"]]
        told = alembic.run(
            "steps", ini=ini, location=str(scripts), url=theirs[0], moves=moves, environ=home
        )
        if "crash" in told or told["moves"][0].get("failed"):
            row.upgrade = f"Alembic: {told.get('crash') or told['moves'][0]['failed']}"[:90]
            return row
        first = told["moves"][0]
        row.ms_alembic = f"{first['seconds'] * 1000:.0f}"
        again = [["upgrade", "heads"], ["status", ""]]
        unstamped = [["rows", ["DROP TABLE alembic_version"]], ["adopt", ""]]
        databases = [
            {"moves": [["plan", "heads"], ["preview", "heads"], ["rehearse", "heads"], *moves]},
            {"moves": [["create", "heads"], ["check", ""], *unstamped]},
            *({"moves": again} for _ in range(3)),
        ]
        for url, one in zip(ours, databases, strict=True):
            one |= {"url": url, "environ": home}
        found = headway.run(
            "project", ini=ini, location=str(scripts), databases=databases, watch=str(root)
        )
        if "databases" not in found:
            row.upgrade = f"{found.get('refused') or found.get('crash')}"[:90]
            return row
        _fill(row, found["databases"], told["moves"], (theirs[0], ours))
    return row


def _fill(
    row: Row, found: list[dict[str, Any]], told: list[dict[str, Any]], urls: tuple[str, list[str]]
) -> None:
    plan, preview, rehearsed, *moves = found[0]["moves"]
    row.mode = plan.get("mode", "-").partition(":")[0]
    row.preview = _answer(preview)
    row.rehearse = _answer(rehearsed) if not rehearsed.get("failed") else rehearsed["failed"][:60]
    row.upgrade = _alike(moves[0], told[0], urls[0], urls[1][0])
    ends = list(zip(moves[1:], told[1:], strict=False))
    alike = [_alike(one, other, urls[0], urls[1][0]) for one, other in ends]
    row.down_up = next((one for one in alike if one != "same"), "same" if alike else "-")
    created, *more = found[1]["moves"]
    row.create = _alike(created, told[0], urls[0], urls[1][1])
    if more:
        row.drift = str(len(more[0].get("drift", ()))) if "drift" in more[0] else _answer(more[0])
    if len(more) > 2:
        heads = created.get("after", [])
        row.adopt = "right" if more[2].get("revision") in heads else _answer(more[2])
    upgrades = [one["moves"][0] for one in found[2:]]
    row.replayed = f"{sum(bool(one.get('replayed')) for one in upgrades)} of {len(upgrades)}"
    row.ms = f"{min(one['seconds'] for one in upgrades) * 1000:.0f}"


def _alike(one: dict[str, Any], other: dict[str, Any], theirs: str, ours: str) -> str:
    if "refused" in one and other.get("failed"):
        return "fails as Alembic's"
    if "dump" not in one or "refused" in one or "crash" in one:
        return _answer(one)
    same = without_chance(one["dump"], ours) == without_chance(other["dump"], theirs)
    return "same" if same else "OTHER"


def _answer(one: dict[str, Any]) -> str:
    if "crash" in one:
        return f"traceback: {one['crash'][:60]}"
    if "refused" in one:
        return f"{one['refused']['kind']}: {one['refused']['words'][:60]}"
    return "yes"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="some of them; by default all that are there")
    parser.add_argument("--markdown", action="store_true")
    given = parser.parse_args()
    names = [name for name in KNOWN if not given.names or name in given.names]
    columns = [one.name for one in fields(Row)]
    if given.markdown:
        print("|", " | ".join(columns), "|")
        print("|", " | ".join("---" for _ in columns), "|")
    with Server("alembic") as alembic, Server("headway") as headway:
        for name in names:
            scripts = location(name)
            if scripts is None:
                print(f"{name} is not here", file=sys.stderr)
                continue
            row = tried(name, scripts, alembic, headway)
            cells = [getattr(row, column) for column in columns]
            if given.markdown:
                print("|", " | ".join(cells), "|", flush=True)
            else:
                print(
                    ", ".join(f"{k} {v}" for k, v in zip(columns, cells, strict=True)), flush=True
                )


if __name__ == "__main__":
    main()
