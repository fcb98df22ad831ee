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
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.differential.dumps import without_chance
from tests.differential.worker import Server


@dataclass(frozen=True)
class Environment:
    """Where a package keeps its scripts, and what a user of it sets."""

    module: str
    scripts: str
    driver: str = "sqlite"
    environ: dict[str, str] = field(default_factory=dict)
    """Its own settings; `{url}` is the first database's."""
    begin: str = ""
    """Python that makes the tables its first revision begins with: `url` is the database's."""
    first: str = ""
    """The revision that Alembic takes those to, so that they have a version."""


MLFLOW = """
from mlflow.store.tracking.dbmodels.initial_models import Base
Base.metadata.create_all(sqlalchemy.create_engine(url))
"""
KNOWN = {
    "optuna": Environment("optuna", "storages/_rdb/alembic"),
    "mlflow": Environment("mlflow", "store/db_migrations", begin=MLFLOW, first="451aebb31d03"),
    "mlflow (auth)": Environment("mlflow", "server/auth/db/migrations"),
    "designate": Environment("designate", "storage/sqlalchemy/alembic"),
    "quetz": Environment("quetz", "migrations"),
    "phoenix": Environment("phoenix", "db/migrations", "sqlite+aiosqlite"),
    "prefect": Environment(
        "prefect",
        "server/database/_migrations",
        "sqlite+aiosqlite",
        {"PREFECT_API_DATABASE_CONNECTION_URL": "{url}"},
    ),
}


@dataclass
class Row:
    """What came of one environment."""

    environment: str
    upgrade: str = "-"
    down_up: str = "-"
    create: str = "-"
    drift: str = "-"
    models: str = "-"
    adopt: str = "-"
    preview: str = "-"
    rehearse: str = "-"
    mode: str = "-"
    replayed: str = "-"
    time: str = "-"


def location(one: Environment) -> Path | None:
    """Where its scripts are, without importing it."""
    found = importlib.util.find_spec(one.module)
    if found is None or not found.submodule_search_locations:
        return None
    folder = Path(found.submodule_search_locations[0]) / one.scripts
    return folder if (folder / "env.py").is_file() else None


def options_of(scripts: Path) -> str:
    """Its alembic.ini; "" if it ships none."""
    places = (scripts / "alembic.ini", scripts.parent / "alembic.ini")
    return next((str(place) for place in places if place.is_file()), "")


def begun(one: Environment, urls: list[str]) -> None:
    """Make the tables that its first revision begins with."""
    if one.begin:
        each = f"for url in {urls!r}:\n{textwrap.indent(one.begin.strip(), '    ')}"
        subprocess.run([sys.executable, "-c", f"import sqlalchemy\n{each}"], check=True)


def tried(name: str, scripts: Path, alembic: Server, headway: Server) -> Row:
    """Try one environment."""
    row, one = Row(name), KNOWN[name]
    with tempfile.TemporaryDirectory(prefix="environments-") as folder:
        root = Path(folder).resolve()
        theirs, ours = (
            [f"{one.driver}:///{root}/{side}{n}.db" for n in range(6)] for side in ("a", "h")
        )
        project = {"ini": options_of(scripts), "location": str(scripts)}

        def settings(url: str) -> dict[str, str]:
            own = {key: value.format(url=url) for key, value in one.environ.items()}
            return {"HOME": str(root), "PYTHONWARNINGS": "ignore", **own}

        def plain(url: str, moves: list[list[Any]]) -> list[dict[str, Any]]:
            done = alembic.run("steps", **project, url=url, moves=moves, environ=settings(url))
            moved: list[dict[str, Any]] = done.get("moves") or [{"failed": done["crash"]}]
            return moved

        prepared = [theirs[0], *theirs[2:5], ours[0], *ours[2:]] if one.begin else []
        begun(one, prepared)
        for url in prepared:
            plain(url, [["upgrade", one.first]])
        up = [["upgrade", "heads"]]
        moves: list[list[Any]] = [*up, ["downgrade", "base"], *up]
        told = plain(theirs[0], moves)
        if told[0].get("failed"):
            row.upgrade = f"Alembic: {told[0]['failed']}"[:90]
            return row
        nothing = plain(theirs[1], up)[0] if one.begin else told[0]
        seconds = min(plain(url, up)[0]["seconds"] for url in theirs[2:5])
        databases: list[dict[str, Any]] = [
            {"moves": [["plan", "heads"], ["preview", "heads"], ["rehearse", "heads"], *moves]},
            {"moves": [["create", "heads"]]},
            {
                "moves": [
                    *up,
                    ["check", ""],
                    ["rows", ["DROP TABLE alembic_version"]],
                    ["adopt", ""],
                ]
            },
            *({"moves": [*up, ["status", ""]]} for _ in range(3)),
        ]
        for url, database in zip(ours, databases, strict=True):
            database |= {"url": url, "environ": settings(ours[0])}
        found = headway.run("project", **project, databases=databases, watch=str(root))
        if "databases" not in found:
            row.upgrade = f"{found.get('refused') or found.get('crash')}"[:90]
            return row
        _fill(row, found["databases"], [*told, nothing], (theirs, ours))
        upgrades = [one["moves"][0] for one in found["databases"][3:]]
        row.time = f"{min(one['seconds'] for one in upgrades) / seconds:.2f}"
    return row


def _fill(
    row: Row,
    found: list[dict[str, Any]],
    told: list[dict[str, Any]],
    urls: tuple[list[str], list[str]],
) -> None:
    plan, preview, rehearsed, *moves = found[0]["moves"]
    *told, nothing = told
    theirs, ours = urls
    row.mode = plan.get("mode", _answer(plan)).partition(":")[0]
    row.preview = _answer(preview)
    row.rehearse = _answer(rehearsed) if not rehearsed.get("failed") else rehearsed["failed"][:60]
    row.upgrade = _alike(moves[0], told[0], theirs[0], ours[0])
    ends = list(zip(moves[1:], told[1:], strict=False))
    alike = [_alike(one, other, theirs[0], ours[0]) for one, other in ends]
    row.down_up = next((one for one in alike if one != "same"), "same" if alike else "-")
    began = theirs[0] if nothing is told[0] else theirs[1]
    row.create = _alike(found[1]["moves"][0], nothing, began, ours[1])
    upgraded, *more = found[2]["moves"]
    if more:
        row.drift = str(len(more[0]["differences"])) if "drift" in more[0] else _answer(more[0])
        row.models = str(len(more[0]["models"])) if more[0].get("models") is not None else "-"
    if len(more) > 2:
        heads = upgraded.get("after", [])
        row.adopt = "right" if more[2].get("revision") in heads else _answer(more[2])
        if heads in more[2].get("others", ()):
            row.adopt = f"{len(more[2]['others']) + 1} alike"
    upgrades = [one["moves"][0] for one in found[3:]]
    row.replayed = f"{sum(bool(one.get('replayed')) for one in upgrades)} of {len(upgrades)}"


def _alike(one: dict[str, Any], other: dict[str, Any], theirs: str, ours: str) -> str:
    if "refused" in one and other.get("failed"):
        return "fails as Alembic's"
    if other.get("failed"):
        return f"Alembic's fails: {other['failed'][:60]}"
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
            scripts = location(KNOWN[name])
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
