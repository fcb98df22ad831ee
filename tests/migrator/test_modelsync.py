"""A schema brought to its models, with no revision files."""

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from headway import errors, sync
from tests.migrator.making import rows, run, tables


def people(*columns: sa.Column[object], **more: object) -> sa.MetaData:
    metadata = sa.MetaData()
    sa.Table("person", metadata, sa.Column("id", sa.Integer, primary_key=True), *columns)
    for name in more:
        sa.Table(name, metadata, sa.Column("id", sa.Integer, primary_key=True))
    return metadata


def name(**more: object) -> sa.Column[object]:
    return sa.Column("name", sa.String(40), **more)  # type: ignore[arg-type]


def test_from_nothing_to_the_models_and_again_nothing_to_do(catalog_url: URL) -> None:
    done = sync(catalog_url, people(name(index=True)))
    assert [change.says for change in done.changes] == [
        "create table person",
        "create index person.ix_person_name",
    ]
    assert tables(catalog_url) == {"person"}
    again = sync(catalog_url, people(name(index=True)))
    assert (again.changes, again.statements, again.left) == ((), (), ())


def test_a_new_column_keeps_the_rows(catalog_url: URL) -> None:
    sync(catalog_url, people(name()))
    run(catalog_url, "INSERT INTO person (id, name) VALUES (1, 'Ada')")
    done = sync(catalog_url, people(name(), sa.Column("email", sa.String(80))))
    assert [change.says for change in done.changes] == ["add column person.email"]
    engine = sa.create_engine(catalog_url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT name, email FROM person").all() == [("Ada", None)]
    engine.dispose()


def test_nothing_is_dropped_unless_told(catalog_url: URL) -> None:
    sync(catalog_url, people(name(), extra=True))
    done = sync(catalog_url, people())
    assert {change.says for change in done.left} == {"drop table extra", "drop column person.name"}
    assert tables(catalog_url) == {"person", "extra"}
    dropped = sync(catalog_url, people(), drop=True)
    assert all(change.drops for change in dropped.changes)
    assert tables(catalog_url) == {"person"}


def test_what_looks_like_a_rename_is_refused(catalog_url: URL) -> None:
    sync(catalog_url, people(name()))
    with pytest.raises(errors.DataLossRefused, match="looks renamed to person"):
        sync(catalog_url, people(sa.Column("full_name", sa.String(40))))


def test_a_dry_run_shows_and_changes_nothing(catalog_url: URL) -> None:
    shown = sync(catalog_url, people(name()), dry_run=True)
    assert [change.says for change in shown.changes] == ["create table person"]
    assert tables(catalog_url) == set()


def test_children_survive_the_rebuild_of_their_parent(sqlite_url: URL) -> None:
    metadata = people(name())
    child = sa.Table(
        "child",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("person_id", sa.ForeignKey("person.id", ondelete="CASCADE")),
    )
    sync(sqlite_url, metadata)
    run(
        sqlite_url,
        "INSERT INTO person (id, name) VALUES (1, 'Ada')",
        "INSERT INTO child VALUES (1, 1)",
    )
    metadata.tables["person"].c.name.type = sa.String(90)
    sync(sqlite_url, metadata)
    engine = sa.create_engine(sqlite_url)
    with engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(child)).scalar() == 1
    engine.dispose()


def test_a_change_that_breaks_leaves_nothing(sqlite_url: URL, postgresql_url: URL) -> None:
    for url in (sqlite_url, postgresql_url):
        sync(url, people(name()))
        run(
            url,
            "INSERT INTO person (id, name) VALUES (1, 'a')",
            "INSERT INTO person (id, name) VALUES (2, 'a')",
        )
        with pytest.raises(sa.exc.IntegrityError):
            sync(url, people(name(unique=True), late=True))
        assert tables(url) == {"person"}


def test_no_default_is_run_to_compare_it(postgresql_url: URL) -> None:
    metadata = sa.MetaData()
    number = sa.text("nextval('bill_no')")
    columns = [sa.Column("no", sa.Integer, server_default=number)]
    columns += [sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now())]
    columns += [sa.Column("word", sa.String(9), server_default="a")]
    sa.Table("bill", metadata, sa.Column("id", sa.Integer, primary_key=True), *columns)
    run(postgresql_url, "CREATE SEQUENCE bill_no")
    sync(postgresql_url, metadata)
    assert sync(postgresql_url, metadata).changes == ()
    metadata.tables["bill"].c.no.server_default = None
    assert len(sync(postgresql_url, metadata, dry_run=True).changes) == 1
    assert rows(postgresql_url, "SELECT is_called FROM bill_no") == [(False,)]
