"""A whole database or a tenant's schema in a shared one: whether it is there, made, dropped."""

from headway import history
from headway.connections.address import Address
from headway.connections.session import Policy, held
from headway.dialects.driver import Raw, ask
from headway.dialects.search_path import tenant_of
from headway.dialects.types import VersionTable
from headway.dialects.urls import DatabaseURL
from headway.errors import AddressInvalid, DatabaseMissing, DatabaseUnreachable, EnvironmentFailed

VERSIONS = ("version", "versions", "alembic_version")
IS_EMPTY = """
SELECT NOT EXISTS (SELECT 1 FROM pg_depend d JOIN pg_namespace n ON n.oid = d.refobjid
WHERE d.refclassid = 'pg_namespace'::regclass AND d.deptype = 'n' AND n.nspname = %s)
"""
LOOKS = """
SELECT current_schema(), (SELECT c.relname || ' in the schema ' || n.nspname
  FROM unnest(%s::text[]) AS name JOIN pg_class c ON c.oid = to_regclass(name)
  JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname <> %s LIMIT 1)
"""
"""The schema that a session makes things in, and a table of these names that it sees elsewhere."""


def is_there(address: Address) -> bool:
    """True if there is such a database, or such a schema in it, empty or not."""
    if tenant_of(address.url, "made or dropped") is None:
        return address.dialect.exists(address.url)
    try:
        return address.dialect.has_schema(address.url)
    except DatabaseUnreachable:
        if address.dialect.exists(address.url):
            raise
        return False


def make(address: Address) -> None:
    """Make it, empty.

    Raises DatabaseExists, and DatabaseMissing for a schema whose database is not there itself.
    """
    if (schema := tenant_of(address.url, "made")) is None:
        address.dialect.make(address.url)
        return
    try:
        address.dialect.make_schema(address.url)
    except DatabaseUnreachable as error:
        if address.dialect.exists(address.url):
            raise
        raise DatabaseMissing(
            f"The schema {schema} cannot be created, because there is no database "
            f"{address.url.database}: {address}. Nothing was created. Create the database first."
        ) from error


def drop(address: Address, policy: Policy) -> None:
    """Drop it with all that is in it; of a schema that alone, under its lock.

    Raises StillNeeded, with nothing dropped, where something outside of a schema depends on it,
    and DatabaseLocked while another process migrates it.
    """
    if tenant_of(address.url, "dropped") is None:
        address.dialect.drop(address.url)
        return
    with held(address, policy) as raw:
        address.dialect.drop_schema(raw, address.url)


def refuse_another_schema(address: Address, table: VersionTable, raw: Raw) -> None:
    """Raise DatabaseMissing or EnvironmentFailed if PostgreSQL would look in another schema.

    It does so instead of a missing one, and in all of a search_path for a table that the first
    schema does not have.
    """
    first = DatabaseURL.of(address.url).schema
    if not first:
        return
    names = [history.NAME] if table.schema else [table.quoted(), history.NAME]
    ((found, elsewhere),) = ask(raw, LOOKS, [names, first])
    if found != first:
        raise DatabaseMissing(
            f"There is no schema {first} in {address}, or its user may not use it. Nothing was "
            "changed. Create it first, with CREATE SCHEMA."
        )
    if elsewhere:
        raise EnvironmentFailed(
            f"The search_path of {address} leads to {elsewhere}, which belongs to another schema: "
            f"{first} has no such table yet. Nothing was changed. Name only one schema: "
            f"?schema={first}."
        )


def is_tenants(table: str, schema: str) -> bool:
    """True for the name of a version table that is this tenant's and can be no other's."""
    return table in {
        name for one in VERSIONS for name in (f"{one}_{schema}", f"{schema}_{one}") if schema
    }


def refuse_emptied(address: Address, table: VersionTable, raw: Raw) -> None:
    """Raise EnvironmentFailed for a version that is kept elsewhere, of a schema without anything.

    It is that of an earlier schema of this name: what it says was made is not there.
    """
    schema = DatabaseURL.of(address.url).schema
    if not schema or table.schema in (None, schema):
        return
    if ask(raw, IS_EMPTY, [schema])[0][0]:
        raise EnvironmentFailed(
            f"{table.quoted('')} says where {address} stands, and there is nothing in the schema "
            f"{schema}: it was left by an earlier schema of this name. Nothing was changed. Drop "
            "that table first."
        )


def refuse_implicit_schema(address: Address, raw: Raw) -> None:
    """Raise AddressInvalid where a session begins in a schema of which its URL says nothing.

    By ALTER ROLE or ALTER DATABASE, or named after its user; only where others live there too.
    """
    url = DatabaseURL.of(address.url)
    if url.dialect != "postgresql" or address.is_shared or url.schema:
        return
    ((begins,),) = ask(raw, "SELECT current_schema()")
    if begins in (None, "public") or not address.dialect.other_schemas(raw):
        return
    raise AddressInvalid(
        f"{address}: a setting of the server starts the sessions of its user in the schema "
        f"{begins}, and this database has other schemas too. Nothing was changed. Name the schema "
        f"in the URL: ?schema={begins}"
    )
