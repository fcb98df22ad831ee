"""Addresses: every spelling of one database is one identity, and nothing hidden gets out."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from app import create_app
from app.errors import OutsideRoots, SecretUnreadable
from app.extensions import db
from app.fleet import databases
from app.fleet.addresses import urls
from app.fleet.core.selectors import Selector
from app.models import Database
from headway.errors import AddressInvalid, DatabaseUnreachable, HeadwayError
from tests.conftest import settings_for
from tests.fleet.conftest import ROOT
from tests.fleet.registry import Registry, registry_on

SECRET = "s3cr3t-w0rd"


@pytest.fixture
def registry(template_copy: URL, tmp_path: Path) -> Iterator[Registry]:
    with registry_on(template_copy, tmp_path) as made:
        yield made


def identity(text: str) -> str:
    return urls.parse(text).identity


@pytest.mark.parametrize(
    "spellings",
    [
        (
            "postgresql://u:p@db.example.org/shop",
            "postgres://other@DB.example.org.:5432/shop",
            "postgresql+psycopg://db.example.org/shop?sslmode=require",
            "postgresql+asyncpg://db.example.org/shop",
            "postgresql:///shop?host=db.example.org",
        ),
        (
            "mysql://u:p@127.0.0.1/shop",
            "mariadb://localhost:3306/shop",
            "mysql+pymysql://[::1]/shop?charset=utf8mb4",
        ),
    ],
    ids=["postgresql", "mysql"],
)
def test_one_database_in_many_spellings_is_one(
    registry: Registry, spellings: tuple[str, ...]
) -> None:
    assert len({identity(text) for text in spellings}) == 1
    assert len({urls.parse(text).server for text in spellings}) == 1


@pytest.mark.parametrize(
    "others",
    [
        ("postgresql://h/shop", "postgresql://h/Shop"),
        ("postgresql://h/shop", "postgresql://h:5433/shop"),
        ("postgresql://h/shop", "mysql://h/shop"),
        ("postgresql://h/shop", "postgresql://i/shop"),
        ("postgresql://h/s?options=-csearch_path=a", "postgresql://h/s?options=-csearch_path=b"),
    ],
    ids=str,
)
def test_two_databases_are_two(registry: Registry, others: tuple[str, str]) -> None:
    assert identity(others[0]) != identity(others[1])


def test_a_file_in_many_spellings_is_one_and_is_kept_by_its_real_path(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = registry.data / "real.db"
    real.touch()
    (registry.data / "link.db").symlink_to(real)
    (registry.data / "sub").mkdir()
    (registry.data / "also").symlink_to(registry.data / "sub")
    monkeypatch.chdir(registry.data)
    spellings = (
        str(real),
        f"sqlite:///{real}",
        "sqlite:///real.db",
        "sqlite:///./sub/../real.db",
        "sqlite:///also/../link.db",
        f"sqlite+pysqlite:///{registry.data}/link.db?timeout=5",
    )
    assert len({identity(text) for text in spellings}) == 1
    assert {urls.parse(text).database for text in spellings} == {str(real)}


@pytest.mark.parametrize(
    "way", ["elsewhere", "above", "link", "folder link", "sibling", "uri", "reference", "later"]
)
def test_no_file_outside_the_roots_is_reached(
    registry: Registry, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, outside = registry.data, tmp_path / "outside"
    outside.mkdir()
    (outside / "x.db").touch()
    (tmp_path / "data-of-others").mkdir()
    (data / "link.db").symlink_to(outside / "x.db")
    (data / "folder").symlink_to(outside)
    (outside / "url").write_text(f"sqlite:///{outside}/x.db")
    (data / "url").write_text(f"sqlite:///{outside}/x.db")
    texts = {
        "elsewhere": f"sqlite:///{outside}/x.db",
        "above": f"sqlite:///{data}/../outside/x.db",
        "link": f"sqlite:///{data}/link.db",
        "folder link": f"sqlite:///{data}/folder/x.db",
        "sibling": f"sqlite:///{tmp_path}/data-of-others/x.db",
        "uri": f"sqlite:///file:{outside}/x.db?uri=true",
    }
    if way == "reference":
        for reference in (f"file:{outside}/url", f"file:{data}/folder/url", f"file:{data}/url"):
            with pytest.raises(OutsideRoots):
                urls.resolve(reference)
    elif way == "later":
        made = registry.register("moved")
        (data / "moved.db").symlink_to(outside / "x.db")
        with pytest.raises(OutsideRoots):
            urls.url_of(made)
    else:
        with pytest.raises((OutsideRoots, AddressInvalid)):
            urls.parse(texts[way])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nothing",
        f"oracle://u:{SECRET}@h/x",
        f"postgresql+nodriver://u:{SECRET}@h/x",
        f"postgresql://u:{SECRET}@h/",
        f"postgresql://u:{SECRET}@h:port/x",
        f"postgresql://u:{SECRET}@h:65536/x",
        f"postgresql://u:{SECRET}@h/x?dbname=y",
        f"postgresql://u:{SECRET}@h/x?service=s",
        f"postgresql://u:{SECRET}@h/x?host=i",
        f"mysql://u:{SECRET}@h/x?read_default_file=/etc/my.cnf",
        f"mysql://u:{SECRET}@h/x?local_infile=1",
        f"postgresql://u:{SECRET}@h/x\n",
        f"postgresql://u:{SECRET}@h/a\x00b",
        f"postgresql://u:{SECRET}@h/" + "x" * 3000,
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x.db",
        f"sqlite://u:{SECRET}@h/x.db",
        "sqlite:////tmp/x.db?mode=memory",
    ],
    ids=lambda text: text[:40].replace(SECRET, "…") or "empty",
)
def test_what_is_no_address_is_refused_and_not_repeated(registry: Registry, text: str) -> None:
    if text.endswith("x\n"):
        assert urls.parse(text).password == SECRET  # an editor's last line end
        return
    with pytest.raises(AddressInvalid) as refused:
        urls.parse(text)
    assert SECRET not in str(refused.value) + repr(refused.value.context)


@pytest.mark.parametrize("backend", ["postgresql", "mariadb"])
def test_the_catalog_is_no_member_of_its_fleet(migrated_url: URL, tmp_path: Path) -> None:
    with registry_on(migrated_url, tmp_path), pytest.raises(AddressInvalid, match="own catalog"):
        urls.parse(migrated_url.render_as_string(hide_password=False))


def test_the_catalogs_own_file_is_no_member_either(template_copy: URL, tmp_path: Path) -> None:
    path = Path(str(template_copy.database))
    app = create_app(settings_for(template_copy, data_roots=(path.parent,)))
    (tmp_path / "link.db").symlink_to(path)
    with app.app_context():
        for text in (str(path), f"sqlite:///{path.parent}/./{path.name}"):
            with pytest.raises(AddressInvalid, match="own catalog"):
                urls.parse(text)
        db.engine.dispose()


SIDES = (
    *("-wal", "-shm", "-journal", "-JOURNAL", ".headway.lock", ".lock", ".partial", ".replaced"),
    *(".restoring", ".20260101T000000Z.r1.snapshot"),
)


@pytest.mark.parametrize("side", SIDES)
def test_what_lies_beside_a_file_is_no_member(registry: Registry, side: str) -> None:
    for name in ("other.db", "b"):
        with pytest.raises(AddressInvalid, match="beside a SQLite database"):
            urls.parse(f"{registry.data}/{name}{side}")
    (registry.data / "link.db").symlink_to(registry.data / f"other.db{side}")
    with pytest.raises(AddressInvalid, match="beside a SQLite database"):
        urls.parse(f"{registry.data}/link.db")


@pytest.mark.parametrize(
    "name",
    [
        *("{}-journal.db", "{}.db", "{}2", "secret_key", "encryption_key", "secret_key.db"),
        *(".secret_key.0123abcd", "encryption_key.sqlite"),
    ],
)
def test_what_belongs_to_the_catalog_is_no_member(template_copy: URL, name: str) -> None:
    path = Path(str(template_copy.database))
    app = create_app(settings_for(template_copy, data_roots=(path.parent,)))
    with app.app_context():
        with pytest.raises(AddressInvalid, match="Headway's own catalog"):
            urls.parse(f"{path.parent}/{name.format(path.name)}")
        assert urls.parse(f"{path.parent}/shop.db")
        db.engine.dispose()


@pytest.mark.parametrize("name", ["argparse.py", "evil", "a.db.py", "a.sqlite.lock2", ".db"])
def test_a_new_file_is_called_as_a_database_is(registry: Registry, name: str) -> None:
    url = f"sqlite:///{registry.data}/{name}"
    with pytest.raises(AddressInvalid, match="Nothing was created"):
        databases.create_database(ROOT, {"project_id": registry.project_id, "url": url})
    assert list(registry.data.iterdir()) == []


@pytest.mark.parametrize("folder", ["scripts", "scripts/versions"])
def test_none_is_created_among_scripts(registry: Registry, folder: str) -> None:
    (registry.data / folder).mkdir(parents=True)
    (registry.data / "scripts" / "env.py").touch()
    url = f"sqlite:///{registry.data / folder}/a.db"
    with pytest.raises(AddressInvalid, match="script directory"):
        databases.create_database(ROOT, {"project_id": registry.project_id, "url": url})
    assert list(registry.data.rglob("*.db")) == []


def test_an_address_shows_no_secret_and_says_enough(registry: Registry) -> None:
    url = urls.parse(
        f"postgresql://ada:{SECRET}@h:5433/shop?sslpassword={SECRET}&sslmode=require"
        f"&options=-csearch_path%3Dacme%20-cmy.token%3D{SECRET}"
    )
    assert SECRET not in repr(url) + str(url) + url.display
    for part in ("ada", "h:5433", "/shop", "sslmode=require", "sslpassword=***", "schema=acme"):
        assert part in url.display
    assert url.server == "postgresql://h:5433"
    assert url.dialect == "postgresql"
    assert urls.parse(f"{registry.data}/a.db").server is None


@pytest.mark.parametrize(
    "reference",
    [
        "env:HEADWAY_SECRET_KEY",
        "env:headway_database_url",
        "env:DATABASE_URL",
        "env:",
        "env:a b",
        "file:relative",
        "vault:x",
        "",
    ],
)
def test_what_is_no_reference_is_refused(
    registry: Registry, reference: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWAY_SECRET_KEY", SECRET)
    with pytest.raises(AddressInvalid) as refused:
        urls.resolve(reference)
    assert SECRET not in str(refused.value)


def test_a_reference_is_followed_each_time(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_URL", f"postgres://u:{SECRET}@h/one")
    made = registry.register("shop", reference="env:SHOP_URL")
    assert (made.address, made.identity) == ("env:SHOP_URL", identity("postgresql://h/one"))
    monkeypatch.setenv("SHOP_URL", f"postgres://u:{SECRET}@h/two")
    assert urls.url_of(made).database == "two"
    monkeypatch.delenv("SHOP_URL")
    with pytest.raises(DatabaseUnreachable):
        urls.url_of(made)


@pytest.mark.parametrize("held", [f"not {SECRET} a url", f"oracle://u:{SECRET}@h/x", "\udcff"])
def test_what_a_reference_holds_is_never_told(
    registry: Registry, held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_URL", held)
    file = registry.data / "secret"
    file.write_bytes(held.encode(errors="surrogateescape"))
    for reference in ("env:SHOP_URL", f"file:{file}"):
        with pytest.raises(HeadwayError) as refused:
            urls.resolve(reference)
        assert SECRET not in str(refused.value)
        chain = refused.value.__cause__ or (
            None if refused.value.__suppress_context__ else refused.value.__context__
        )
        assert chain is None


def test_a_variable_that_holds_no_url_is_as_good_as_none(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = set()
    for held in (None, "", "a value", "/etc/passwd", "oracle://h/x", "postgresql://h/x?service=a"):
        monkeypatch.delenv("SHOP_URL", raising=False)
        if held is not None:
            monkeypatch.setenv("SHOP_URL", held)
        with pytest.raises(DatabaseUnreachable) as refused:
            urls.resolve("env:SHOP_URL")
        told.add(str(refused.value))
        made = registry.register(f"shop {held}"[:20].replace("://", ""), reference="env:SHOP_URL")
        assert (made.address, made.identity, made.dialect) == ("env:SHOP_URL", None, None)
    assert len(told) == 1


def test_a_file_reference_takes_the_last_line_end_away(registry: Registry) -> None:
    file = registry.data / "secret"
    file.write_text("postgresql://u:p@h/shop\n")
    assert urls.resolve(f"file:{file}").database == "shop"


def test_a_secret_under_a_lost_key_breaks_nothing_but_itself(registry: Registry) -> None:
    lost, fine = registry.register("lost"), registry.register("fine")
    table = sa.table("database", sa.column("id"), sa.column("url"))
    db.session.execute(sa.update(table).where(table.c.id == lost.id).values(url="gAAAAAnothing"))
    db.session.commit()
    db.session.remove()
    listed, _ = databases.list_databases(ROOT, Selector(), limit=9)
    assert [one.name for one in listed] == ["lost", "fine"]
    with pytest.raises(SecretUnreadable):
        urls.url_of(databases.get_database(ROOT, lost.id))
    assert urls.url_of(databases.get_database(ROOT, fine.id)).database
    kept = db.session.execute(sa.select(table.c.url)).scalars().all()
    assert not any("fine.db" in str(text) for text in kept)
    assert db.session.get(Database, fine.id)
