"""Alembic environments as other programs ship them, unchanged.

What we make of a database is what Alembic's own commands make of another, statement by statement.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from headway.errors import MigrationFailed
from headway.project import Project
from headway.types import Position
from tests.migrator.reference import Move, alembic, dump

# Their deprecations are theirs.
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def package(name: str, advice: str) -> Path:
    """Where it is, or a skip that says how to have it. Not imported: its env.py does that."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        pytest.skip(f"{name} is not installed: {advice}")
    return Path(found.origin).parent


class TestOptuna:
    """Reflects, works on rows through ORM sessions, rebuilds tables in batches."""

    @pytest.fixture
    def scripts(self) -> Path:
        return package("optuna", "`make test` installs it") / "storages" / "_rdb" / "alembic"

    def test_from_empty_to_head_it_is_what_alembic_makes(
        self, scripts: Path, kind: str, fresh_url: Callable[[str], URL]
    ) -> None:
        ours, theirs = fresh_url(kind), fresh_url(kind)

        outcome = Project.load(scripts).at(ours).upgrade()

        alembic(scripts.parent, theirs, location=scripts)
        assert outcome.after == ("v3.2.0.a",)
        assert dump(ours) == dump(theirs)

    def test_every_revision_down_and_up_again_is_what_alembic_makes(
        self, scripts: Path, kind: str, fresh_url: Callable[[str], URL]
    ) -> None:
        ours, theirs = fresh_url(kind), fresh_url(kind)

        broken = down_and_up_again(Project.load(scripts), ours, theirs, scripts.parent)

        # Its way back from 3.0.0.c names an attribute that does not exist: as Alembic, but
        # the database stays as it was.
        assert broken == "v3.0.0.c"


class TestMlflow:
    """66 revisions on tables that the program makes itself, before the first."""

    @pytest.fixture
    def scripts(self, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite://")
        root = package("mlflow", "`make test-mlflow` installs it and runs this")
        return root / "store" / "db_migrations"

    @pytest.fixture
    def urls(self, scripts: Path, kind: str, fresh_url: Callable[[str], URL]) -> tuple[URL, URL]:
        """Two databases as the oldest release of it left them, at the first revision."""
        from mlflow.store.tracking.dbmodels.initial_models import Base

        found = (fresh_url(kind), fresh_url(kind))
        for url in found:
            engine = sa.create_engine(url, poolclass=sa.NullPool)
            Base.metadata.create_all(engine)
            first = ("upgrade", "451aebb31d03")
            alembic(scripts, url, first, location=scripts)
        return found

    def test_from_its_first_revision_to_head_it_is_what_alembic_makes(
        self, scripts: Path, urls: tuple[URL, URL]
    ) -> None:
        ours, theirs = urls

        outcome = Project.load(scripts).at(ours).upgrade()

        alembic(scripts, theirs, location=scripts)
        assert len(outcome.applied) > 60
        assert dump(ours) == dump(theirs)

    def test_every_revision_down_and_up_again_is_what_alembic_makes(
        self, scripts: Path, kind: str, urls: tuple[URL, URL]
    ) -> None:
        broken = down_and_up_again(Project.load(scripts), *urls, scripts)

        # Where its way back takes nothing back, so that the way on finds it done already.
        assert broken == {"sqlite": "c8d9e0f1a2b3", "postgresql": "6953534de441"}[kind]


def down_and_up_again(project: Project, ours: URL, theirs: URL, folder: Path) -> str | None:
    """Take each revision back, on again and back, newest first; compare there, and at head again.

    Stops at a revision that cannot do that, and answers it: Alembic has to fail there as well.
    """
    database = project.at(ours)
    moves: list[Move] = [("upgrade", "heads")]
    database.upgrade()
    for revision in reversed(project.revisions):
        back, on = ("downgrade", next(iter(revision.parents), "base")), ("upgrade", revision.id)
        for move in (back, on, back):
            before = dump(ours)
            try:
                getattr(database, move[0])(move[1])
            except MigrationFailed:
                assert dump(ours) == before
                alembic(folder, theirs, *moves, location=project.folder)
                assert dump(ours) == dump(theirs)
                with pytest.raises(AssertionError, match="Error"):
                    alembic(folder, theirs, move, location=project.folder)
                return revision.id
            moves.append(move)
    alembic(folder, theirs, *moves, location=project.folder)
    assert dump(ours) == dump(theirs)
    database.upgrade()
    alembic(folder, theirs, location=project.folder)
    assert dump(ours) == dump(theirs)
    assert database.status().position == Position.AT_HEAD
    return None
