"""The register knows every revision that any release brought, and the way between them."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import func, select
from sqlalchemy.engine import URL

import headway
from app import errors
from app.extensions import db
from app.fleet import projects
from app.fleet.projects import revisions
from app.fleet.projects import scripts as projects_scripts
from app.models import Database, Event, Kind, Loading, PositionCount, Project, Revision
from headway import errors as database_errors
from headway.plan import plans
from headway.plan.plans import Direction
from tests.fleet.conftest import ROOT, at_once, project_at, ready_project
from tests.fleet.fleets import move
from tests.migrator.graphs import ENV, a_target, alembic_does, versions, write_graph
from tests.migrator.scripts import write_env, write_project, write_revision

GRAPHS = 100
BATCH = 25
KINDS = {"upgrade": Kind.UPGRADE, "downgrade": Kind.DOWNGRADE}
SAME = {
    database_errors.SeveralHeads: "MultipleHeads",
    database_errors.RevisionNotFound: "ResolutionError",
}


def told(steps: tuple[Revision, ...]) -> tuple[str, ...]:
    return tuple(step.revision for step in steps)


def split(joined: str) -> tuple[str, ...]:
    return tuple(joined.split("+")) if joined else ()


# --- loading --------------------------------------------------------------------------------


def test_a_load_keeps_all_that_a_person_asks_of_a_revision(
    fleet_anywhere: Flask, tmp_path: Path
) -> None:
    folder = write_project(tmp_path / "scripts", 2)
    write_revision(folder, "b1", None, labels=("side",), depends_on=("r001",), message="élan")
    project_id = ready_project(folder)
    project = db.session.get_one(Project, project_id)
    assert project.heads == ["b1", "r002"]
    assert project.environment["mode"] == "captured"
    assert project.loaded_at
    row = revisions.versions_of(ROOT, project_id, "b1")[0]
    assert (row.parents, row.depends_on, row.labels) == ([], ["r001"], ["side"])
    assert row.message == "élan"
    assert row.script == (folder / "versions" / "b1.py").read_text()
    assert row.present
    sql = revisions.versions_of(ROOT, project_id, "r002")[0].sql
    assert set(sql) == {"sqlite", "postgresql", "mysql"}
    assert "ALTER TABLE t1 ADD COLUMN extra INTEGER" in sql["sqlite"]["upgrade"]
    assert "id SERIAL NOT NULL" in sql["postgresql"]["upgrade"]
    assert "id INTEGER NOT NULL AUTO_INCREMENT" in sql["mysql"]["upgrade"]
    assert sql["sqlite"]["downgrade"].splitlines()[0] == "ALTER TABLE t1 DROP COLUMN extra;"
    assert not {"BEGIN;", "COMMIT;"} & set(sql["postgresql"]["upgrade"].splitlines())
    assert "alembic_version" not in sql["postgresql"]["upgrade"]


def test_a_load_is_no_change_of_the_project_by_a_person(fleet_here: Flask, tmp_path: Path) -> None:
    project_id = project_at(write_project(tmp_path / "scripts", 1))
    before = db.session.get_one(Project, project_id)
    seen = (before.version, before.updated_at)
    after = projects_scripts.load(project_id)
    assert (after.version, after.updated_at) == seen


def test_an_edited_script_is_another_row_and_the_old_one_stays(
    fleet_anywhere: Flask, tmp_path: Path
) -> None:
    folder = write_project(tmp_path / "scripts", 2)
    project_id = ready_project(folder)
    write_revision(folder, "r002", "r001", ["op.execute('SELECT 2')"], message="edited")
    projects_scripts.load(project_id)
    new, old = revisions.versions_of(ROOT, project_id, "r002")
    assert (new.present, old.present) == (True, False)
    assert new.message == "edited"
    assert "SELECT 2" in (new.sql["sqlite"]["upgrade"] or "")
    assert old.script != new.script
    assert old.last_seen_at < new.last_seen_at
    assert told(revisions.path(project_id, (), "heads", Kind.UPGRADE)) == ("r001", "r002")
    assert revisions.path(project_id, (), "heads", Kind.UPGRADE)[1].id == new.id


def test_a_revision_that_an_older_release_lacks_is_kept(
    fleet_anywhere: Flask, tmp_path: Path
) -> None:
    folder = write_project(tmp_path / "scripts", 3)
    project_id = ready_project(folder)
    first = revisions.versions_of(ROOT, project_id, "r003")[0].first_seen_at
    text = (folder / "versions" / "r003.py").read_text()
    (folder / "versions" / "r003.py").unlink()
    assert projects_scripts.load(project_id).heads == ["r002"]
    gone = revisions.versions_of(ROOT, project_id, "r003")[0]
    assert (gone.present, gone.script) == (False, text)
    (folder / "versions" / "r003.py").write_text(text)
    assert projects_scripts.load(project_id).heads == ["r003"]
    back = revisions.versions_of(ROOT, project_id, "r003")[0]
    assert (back.id, back.present, back.first_seen_at) == (gone.id, True, first)


def test_reading_the_same_again_adds_nothing(fleet_here: Flask, tmp_path: Path) -> None:
    project_id = ready_project(write_project(tmp_path / "scripts", 3))
    events = db.session.scalar(select(func.count()).select_from(Event))
    projects_scripts.load(project_id)
    assert db.session.scalar(select(func.count()).select_from(Revision)) == 3
    assert db.session.scalar(select(func.count()).select_from(Event)) == events


def test_another_env_py_renders_the_sql_anew(fleet_here: Flask, tmp_path: Path) -> None:
    folder = write_project(tmp_path / "scripts", 1)
    project_id = ready_project(folder)
    sql = sql_says(project_id, (), "heads", Kind.UPGRADE)
    assert "CREATE TABLE alembic_version" in (sql or "")
    write_env(
        folder,
        ENV.replace(
            "connection=connection,", "connection=connection, version_table='shop_version',"
        ),
    )
    projects_scripts.load(project_id)
    assert "CREATE TABLE shop_version" in (sql_says(project_id, (), "heads", Kind.UPGRADE) or "")


@pytest.mark.parametrize(
    ("breaking", "words"),
    [
        ("raise ValueError('no settings')", "env.py failed: ValueError: no settings"),
        ("import nowhere_to_be_found", "No module named 'nowhere_to_be_found'"),
        ("raise SystemExit(3)", "ended the program"),
        ("raise ValueError('postgresql://joe:s3cret@db/x')", "postgresql://joe:***@db/x"),
    ],
)
def test_a_broken_env_py_is_told_in_words_and_mended_later(
    fleet_anywhere: Flask, tmp_path: Path, breaking: str, words: str
) -> None:
    folder = write_project(tmp_path / "scripts", 1)
    good = (folder / "env.py").read_text()
    (folder / "env.py").write_text(breaking)
    project_id = project_at(folder)
    project = projects_scripts.load(project_id)
    assert project.state == Loading.BROKEN
    assert words in (project.problem or "")
    assert "s3cret" not in (project.problem or "")
    assert project_id not in projects_scripts.due()
    with pytest.raises(errors.ProjectNotReady, match="cannot be used"):
        revisions.path(project_id, (), "heads", Kind.UPGRADE)
    (folder / "env.py").write_text(good)
    assert project_id in projects_scripts.due()
    assert projects_scripts.load(project_id).state == Loading.READY
    assert project_id not in projects_scripts.due()


@pytest.mark.parametrize("line", ["raise ValueError('half')", "import sys; sys.exit(2)"])
def test_a_revision_that_cannot_be_imported_is_named(
    fleet_here: Flask, tmp_path: Path, line: str
) -> None:
    folder = write_project(tmp_path / "scripts", 1)
    write_revision(folder, "r002", "r001", head=line)
    project = projects_scripts.load(project_at(folder))
    assert project.state == Loading.BROKEN
    assert ("r002.py" if "half" in line else "ended the program") in (project.problem or "")


def test_scripts_that_are_gone_are_told_in_words(fleet_here: Flask, tmp_path: Path) -> None:
    folder = write_project(tmp_path / "scripts", 1)
    project_id = ready_project(folder)
    folder.rename(tmp_path / "elsewhere")
    assert project_id in projects_scripts.due()
    project = projects_scripts.load(project_id)
    assert project.state == Loading.BROKEN
    assert "There is no script directory" in (project.problem or "")
    assert project_id not in projects_scripts.due()
    (tmp_path / "elsewhere").rename(folder)
    assert project_id in projects_scripts.due()
    assert projects_scripts.load(project_id).state == Loading.READY


def test_what_waits_and_what_changed_is_due(fleet_here: Flask, tmp_path: Path) -> None:
    folder = write_project(tmp_path / "scripts", 1)
    project_id = project_at(folder)
    assert projects_scripts.due() == [project_id]
    projects_scripts.load(project_id)
    assert projects_scripts.due() == []
    write_revision(folder, "r002", "r001")
    assert projects_scripts.due() == [project_id]
    projects_scripts.load(project_id)
    assert projects_scripts.due() == []


def test_two_workers_that_load_at_once_keep_one_register(
    fleet_anywhere: Flask, tmp_path: Path
) -> None:
    project_id = project_at(write_project(tmp_path / "scripts", 5))
    found = at_once(fleet_anywhere, *[lambda: projects_scripts.load(project_id).state] * 4)
    assert found == [Loading.READY] * 4
    assert db.session.scalar(select(func.count()).select_from(Revision)) == 5


def test_a_project_that_is_changed_meanwhile_is_read_again(
    fleet_here: Flask, tmp_path: Path
) -> None:
    folder = write_project(tmp_path / "scripts", 1)
    # The scripts themselves tell when they are read: then a person changes the project.
    write_env(folder, ENV + "\nfrom pathlib import Path\nPath(__file__).with_name('read').touch()")
    project_id = project_at(folder)
    version = db.session.get_one(Project, project_id).version

    def change_then_keep() -> None:
        projects.change_project(ROOT, project_id, {"x": {"tenant": "a"}}, version=version)

    from app.fleet.projects import scripts as projects_scripts

    found = projects_scripts._read(db.session.get_one(Project, project_id))
    change_then_keep()
    projects_scripts._store(project_id, version, found)
    assert db.session.get_one(Project, project_id).state == Loading.WAITING
    assert db.session.scalar(select(func.count()).select_from(Revision)) == 0
    assert projects_scripts.due() == [project_id]


def test_a_revision_that_asks_the_database_has_no_sql(fleet_here: Flask, tmp_path: Path) -> None:
    folder = write_project(tmp_path / "scripts", 1)
    write_revision(
        folder,
        "r002",
        "r001",
        ["rows = op.get_bind().execute(sa.text('SELECT 1')).all()"],
        ["raise NotImplementedError"],
    )
    write_revision(folder, "r003", "r002")
    project_id = ready_project(folder)
    assert revisions.versions_of(ROOT, project_id, "r002")[0].sql["sqlite"] == {
        "upgrade": None,
        "downgrade": None,
    }
    assert sql_says(project_id, ("r001",), "heads", Kind.UPGRADE) is None
    assert sql_says(project_id, ("r002",), "heads", Kind.UPGRADE)


def test_new_scripts_move_databases_in_the_catalog_at_once(
    fleet_anywhere: Flask, tmp_path: Path
) -> None:
    folder = write_project(tmp_path / "scripts", 2)
    project_id = ready_project(folder)
    for name, position, current in (
        ("a", "at_head", "r002"),
        ("b", "behind", "r001"),
        ("c", "unreachable", "r002"),
        ("d", "ahead", "r003"),
    ):
        db.session.add(
            Database(
                project_id=project_id, name=name, address=name, position=position, current=current
            )
        )
    db.session.commit()
    write_revision(folder, "r003", "r002")
    projects_scripts.load(project_id)
    stand = select(Database.name, Database.position, Database.pending).order_by(Database.name)

    def found() -> list[tuple[object, ...]]:
        db.session.rollback()
        return [tuple(row) for row in db.session.execute(stand)]

    # Nobody had counted these rows yet: the load of another release does.
    from app.fleet.core.transactions import writing
    from app.fleet.counts import positions

    with writing() as session:
        positions.recount(session, [project_id])
    write_revision(folder, "r004", "r003")
    projects_scripts.load(project_id)
    assert found() == [
        ("a", "behind", 2),
        ("b", "behind", 3),
        ("c", "unreachable", None),
        ("d", "behind", 1),
    ]
    for name in ("r003", "r004"):
        (folder / "versions" / f"{name}.py").unlink()
    projects_scripts.load(project_id)
    assert found()[0] == ("a", "at_head", 0)
    assert found()[3] == ("d", "ahead", 2)
    total = db.session.scalar(select(func.sum(PositionCount.databases)))
    assert total == 4


# --- steps ----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:downgrade -1 from multiple heads:UserWarning")
@pytest.mark.parametrize("seed", range(0, GRAPHS, BATCH))
def test_the_steps_the_end_and_the_sql_are_alembics(
    seed: int, fleet_here: Flask, tmp_path: Path
) -> None:
    compared = 0
    for number in range(seed, seed + BATCH):
        compared += one_graph(tmp_path / str(number), random.Random(number))
    assert compared > BATCH


def one_graph(folder: Path, dice: random.Random) -> int:
    """What the register says of each move, beside what Alembic's own command then does."""
    ids = write_graph(folder, dice)
    theirs = folder / "theirs.db"
    project_id = project_at(folder, f"graph{folder.name}")
    project = projects_scripts.load(project_id)
    if project.state == Loading.BROKEN:
        with pytest.raises(database_errors.ScriptsUnreadable):
            projects.scripts_of(project)
        return 1
    scripts = headway.Project.load(*projects.places_of(project))
    compared = 0
    for _ in range(4):
        direction, target = a_target(ids, dice)
        # As the table has them: of several, Alembic takes `-1` from the first.
        before = scripts.at(theirs).status().current
        says = register_says(project_id, before, target, KINDS[direction])
        sql = sql_says(project_id, before, target, KINDS[direction])
        preview = preview_says(scripts, theirs, target, direction)
        does = alembic_does(folder, theirs, direction, target)
        where = f"{folder.name}: {direction} {target} from {before}"
        if isinstance(does, type):
            assert says in (does.__name__, "TargetInvalid"), where
            if does is KeyError:
                return compared
            continue
        compared += 1
        assert says == (does, "+".join(versions(theirs))), where
        if does:
            assert preview, where
            assert sql == preview, where
    return compared


def register_says(project_id: int, current: tuple[str, ...], target: str, kind: Kind) -> object:
    try:
        steps = revisions.path(project_id, current, target, kind)
        return told(steps), revisions.ends(project_id, current, target, kind)
    except database_errors.HeadwayError as error:
        return SAME.get(type(error), type(error).__name__)


def sql_says(
    project_id: int, current: tuple[str, ...], target: str, kind: Kind, dialect: str = "sqlite"
) -> str | None:
    try:
        steps = revisions.path(project_id, current, target, kind)
    except database_errors.HeadwayError:
        return None
    texts = revisions.texts_of(steps, dialect, kind)
    return revisions.sql_of(project_id, current, texts, dialect, kind)


def preview_says(scripts: headway.Project, path: Path, target: str, direction: str) -> str | None:
    database = scripts.at(path)
    try:
        return database.preview(database.plan(target, direction=direction))
    except database_errors.HeadwayError:
        return None


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql", "mysql"])
def test_the_sql_of_a_history_is_what_a_preview_shows(
    fleet_here: Flask, tmp_path: Path, dialect: str
) -> None:
    folder = write_project(tmp_path / "scripts", 4)
    write_revision(folder, "r005", "r004", ["op.execute(\"UPDATE t1 SET name = '100%% :x'\")"])
    project_id = ready_project(folder)
    from headway.connections.address import Address
    from headway.plan import register as kept
    from headway.plan.sql import Span, render

    scripts = headway.Project.load(folder)
    for kind, start, target in (
        (Kind.UPGRADE, (), "heads"),
        (Kind.UPGRADE, ("r002",), "+2"),
        (Kind.DOWNGRADE, ("r005",), "base"),
    ):
        span = Span(
            project=scripts,
            address=Address(kept.address_of(dialect)),
            x={},
            direction=plans.Direction(kind.value),
            start=start,
            target=target,
        )
        assert sql_says(project_id, start, target, kind, dialect) == render(span)


def test_labels_and_partial_ids_name_revisions(fleet_here: Flask, tmp_path: Path) -> None:
    folder = write_env(tmp_path / "scripts")
    write_revision(folder, "aaa111", None)
    write_revision(folder, "bbb222", "aaa111", labels=("pay",))
    write_revision(folder, "ccc333", "bbb222")
    write_revision(folder, "ddd444", "aaa111")
    project_id = ready_project(folder)

    def goes(current: tuple[str, ...], target: str, kind: Kind = Kind.UPGRADE) -> tuple[str, ...]:
        return told(revisions.path(project_id, current, target, kind))

    assert goes((), "pay@head") == ("aaa111", "bbb222", "ccc333")
    assert goes((), "bbb") == ("aaa111", "bbb222")
    assert goes(("aaa111",), "pay@+1") == ("bbb222",)
    assert goes(("ccc333",), "pay@-1", Kind.DOWNGRADE) == ("ccc333",)
    assert goes(("ccc333",), "ddd444", Kind.STAMP) == ("ddd444",)
    assert revisions.ends(project_id, ("ccc333", "ddd444"), "aaa111", Kind.STAMP) == "aaa111"
    assert revisions.ends(project_id, ("ccc333",), "heads", Kind.UPGRADE) == "ccc333+ddd444"
    assert revisions.ends(project_id, ("ccc333",), "heads", Kind.CHECK) == "ccc333"
    with pytest.raises(database_errors.SeveralHeads):
        goes((), "head")
    with pytest.raises(database_errors.RevisionNotFound, match="shop"):
        goes((), "eee")
    with pytest.raises(database_errors.TargetInvalid):
        goes(("ccc333",), "-9", Kind.DOWNGRADE)


def test_the_sql_of_a_stamp_moves_the_version_alone(fleet_here: Flask, tmp_path: Path) -> None:
    project_id = ready_project(write_project(tmp_path / "scripts", 3))
    sql = sql_says(project_id, ("r001",), "heads", Kind.STAMP) or ""
    assert "UPDATE alembic_version SET version_num='r003'" in sql
    assert "t2" not in sql


def test_a_project_that_nobody_has_read_is_not_ready(fleet_here: Flask, tmp_path: Path) -> None:
    project_id = project_at(write_project(tmp_path / "scripts", 1))
    with pytest.raises(errors.ProjectNotReady, match="flask projects load"):
        revisions.path(project_id, (), "heads", Kind.UPGRADE)
    with pytest.raises(errors.ProjectNotFound):
        revisions.path(project_id + 1, (), "heads", Kind.UPGRADE)


# --- taking back what only a newer release knows --------------------------------------------


def test_an_older_release_takes_back_what_a_newer_one_brought(
    fleet_here: Flask, tmp_path: Path, fresh_url: Callable[..., URL], backend: str
) -> None:
    folder = write_project(tmp_path / "scripts", 5)
    project_id = ready_project(folder)
    url = fresh_url(backend)
    project = db.session.get_one(Project, project_id)
    move(projects.scripts_of(project).at(url))
    for name in ("r004", "r005"):  # the older release comes back
        (folder / "versions" / f"{name}.py").unlink()
    project = projects_scripts.load(project_id)
    assert project.heads == ["r003"]
    own = projects.scripts_of(project)
    assert own.at(url).status().position == "ahead"
    steps = revisions.path(project_id, ("r005",), "r003", Kind.DOWNGRADE)
    assert told(steps) == ("r005", "r004")
    assert revisions.ends(project_id, ("r005",), "r003", Kind.DOWNGRADE) == "r003"
    assert revisions.ends(project_id, ("r005",), "-1", Kind.DOWNGRADE) == "r004"
    assert "DROP TABLE t5" in (sql_says(project_id, ("r005",), "r003", Kind.DOWNGRADE) or "")
    scripts = revisions.scripts_with(project, ["r005"])
    assert scripts.heads == ("r005",)
    assert revisions.scripts_with(project, ["r005"]) is scripts
    assert move(scripts.at(url), "r003", Direction.DOWNGRADE).after == ("r003",)
    assert own.at(url).status().position == "at_head"
    assert revisions.scripts_with(project, ["r003"]) is own


def test_what_no_release_ever_had_cannot_be_taken_back(fleet_here: Flask, tmp_path: Path) -> None:
    project_id = ready_project(write_project(tmp_path / "scripts", 1))
    project = db.session.get_one(Project, project_id)
    with pytest.raises(database_errors.RevisionNotFound, match="zzz"):
        revisions.scripts_with(project, ["zzz"])
    with pytest.raises(database_errors.RevisionNotFound, match="zzz"):
        revisions.path(project_id, ("zzz",), "base", Kind.DOWNGRADE)


def test_a_newer_revision_is_no_target_of_an_older_release(
    fleet_here: Flask, tmp_path: Path
) -> None:
    folder = write_project(tmp_path / "scripts", 3)
    project_id = ready_project(folder)
    (folder / "versions" / "r003.py").unlink()
    projects_scripts.load(project_id)
    with pytest.raises(database_errors.RevisionNotFound):
        revisions.path(project_id, ("r001",), "r003", Kind.UPGRADE)
    assert revisions.path(project_id, ("r003",), "heads", Kind.UPGRADE) == ()


# --- for people -----------------------------------------------------------------------------


def test_a_beginning_is_enough_to_find_a_revision(fleet_here: Flask, tmp_path: Path) -> None:
    folder = write_env(tmp_path / "scripts")
    write_revision(folder, "abc1", None)
    write_revision(folder, "abd2", "abc1")
    project_id = ready_project(folder)
    assert revisions.versions_of(ROOT, project_id, "abc")[0].revision == "abc1"
    with pytest.raises(database_errors.RevisionNotFound, match="abc1, abd2"):
        revisions.versions_of(ROOT, project_id, "ab")[0]
    with pytest.raises(database_errors.RevisionNotFound, match="x9"):
        revisions.versions_of(ROOT, project_id, "x9")[0]


def test_a_list_comes_in_pages_oldest_first(fleet_here: Flask, tmp_path: Path) -> None:
    folder = write_project(tmp_path / "scripts", 5)
    project_id = ready_project(folder)
    (folder / "versions" / "r005.py").unlink()
    projects_scripts.load(project_id)
    first, after = revisions.list_revisions(ROOT, project_id, limit=3)
    rest, end = revisions.list_revisions(ROOT, project_id, limit=3, after=after)
    assert told((*first, *rest)) == ("r001", "r002", "r003", "r004", "r005")
    assert end is None
    gone, _ = revisions.list_revisions(ROOT, project_id, limit=3, present=False)
    assert told(tuple(gone)) == ("r005",)
