"""Alembic environments that other programs ship: Headway beside Alembic's own commands.

    pip install optuna quetz-server …    # each where its requirements fit
    python benchmarks/environments.py optuna --markdown

Installs nothing: what cannot be imported here is left out. Each environment is tried on SQLite
files, with Alembic in processes of its own. Its scripts are as they were shipped, but that a
revision which Headway refuses for what it loses without a word states it. The columns: upgrade,
down to base and up again, and create leave what Alembic leaves; `check` of an untouched database
finds nothing; how far its models differ; `adopt` finds the revision; the preview renders; the
rehearsal agrees; env.py's mode; how many of three further upgrades were replayed; the time of one
upgrade from nothing beside Alembic's.
"""

import argparse
import importlib.util
import re
import shutil
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

SECONDS = 900.0
UUID = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
"""What two runs of Alembic never have in common either."""


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
    versions: str = "alembic_version"
    """Its version table."""
    loses: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """What its revisions lose without a word, and are refused for: stated in a copy of them."""


MLFLOW = """
from mlflow.store.tracking.dbmodels.initial_models import Base
Base.metadata.create_all(sqlalchemy.create_engine(url))
"""
KNOWN = {
    "optuna": Environment("optuna", "storages/_rdb/alembic"),
    "mlflow": Environment("mlflow", "store/db_migrations", begin=MLFLOW, first="451aebb31d03"),
    "mlflow (auth)": Environment(
        "mlflow", "server/auth/db/migrations", versions="alembic_version_auth"
    ),
    "designate": Environment("designate", "storage/sqlalchemy/alembic"),
    "quetz": Environment("quetz", "migrations"),
    "phoenix": Environment(
        "phoenix",
        "db/migrations",
        "sqlite+aiosqlite",
        loses={"8a3764fe7f1a": ("prompt_versions",)},
    ),
    "dstack": Environment(
        "dstack",
        "_internal/server/migrations",
        "sqlite+aiosqlite",
        {"DSTACK_DATABASE_URL": "{url}"},
        loses={"5ad8debc8fe6": ("ix_submitted_at_id",)},
    ),
    "cinder": Environment(
        "cinder", "db/migrations", loses={"b8660621f1b9": ("quota_classes", "reservations")}
    ),
    "nova": Environment("nova", "db/main/migrations"),
    "nova (api)": Environment("nova", "db/api/migrations"),
    "argilla": Environment("argilla_server", "alembic", environ={"ARGILLA_DATABASE_URL": "{url}"}),
    "airflow": Environment(
        "airflow",
        "migrations",
        environ={"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "{url}"},
        loses={"f8c9d7e6b5a4": ("idx_task_reschedule_ti_id_id_desc",)},
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


def stated(scripts: Path, loses: dict[str, tuple[str, ...]], root: Path) -> Path:
    """A copy of the scripts in which each of these revisions states what it loses."""
    if not loses:
        return scripts
    copy = root / scripts.name
    shutil.copytree(scripts, copy)
    for revision, names in loses.items():
        its_own = re.compile(rf"^revision\b.*{revision}", re.MULTILINE)
        (file,) = (one for one in copy.rglob("*.py") if its_own.search(one.read_text()))
        with file.open("a") as opened:
            opened.write(f"\nloses = {names!r}\n")
    return copy


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
        location = str(stated(scripts, one.loses, root))
        project = {"ini": options_of(scripts), "location": location}

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
        expected = plain(theirs[0], moves)
        if expected[0].get("failed"):
            row.upgrade = f"Alembic: {expected[0]['failed']}"[:90]
            return row
        nothing = plain(theirs[1], up)[0] if one.begin else expected[0]
        seconds = min(plain(url, up)[0]["seconds"] for url in theirs[2:5])
        databases: list[dict[str, Any]] = [
            {"moves": [["plan", "heads"], ["preview", "heads"], ["rehearse", "heads"], *moves]},
            {"moves": [["create", "heads"]]},
            {
                "moves": [
                    *up,
                    ["check", ""],
                    ["rows", [f"DROP TABLE {one.versions}"]],
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
        _fill(row, found["databases"], [*expected, nothing], (theirs, ours))
        upgrades = [one["moves"][0] for one in found["databases"][3:]]
        row.time = f"{min(one['seconds'] for one in upgrades) / seconds:.2f}"
    return row


def _fill(
    row: Row,
    found: list[dict[str, Any]],
    expected: list[dict[str, Any]],
    urls: tuple[list[str], list[str]],
) -> None:
    plan, preview, rehearsed, *moves = found[0]["moves"]
    *expected, nothing = expected
    theirs, ours = urls
    row.mode = plan.get("mode", _answer(plan)).partition(":")[0]
    row.preview = _answer(preview)
    row.rehearse = _answer(rehearsed) if not rehearsed.get("failed") else rehearsed["failed"][:60]
    row.upgrade = _alike(moves[0], expected[0], theirs[0], ours[0])
    ends = list(zip(moves[1:], expected[1:], strict=False))
    alike = [_alike(one, other, theirs[0], ours[0]) for one, other in ends]
    row.down_up = next((one for one in alike if one != "same"), "same" if alike else "-")
    began = theirs[0] if nothing is expected[0] else theirs[1]
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
    mine, others = (
        UUID.sub("<uuid>", without_chance(each["dump"], url))
        for each, url in ((one, ours), (other, theirs))
    )
    return "same" if mine == others else "OTHER"


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
    with Server("alembic", SECONDS) as alembic, Server("headway", SECONDS) as headway:
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
