"""A whole database or a tenant's schema in a shared one: whether it is there, made, dropped."""

from headway import history
from headway.connections.address import Address
from headway.connections.session import Policy, held
from headway.dialects.driver import Raw, ask
from headway.dialects.search_path import tenant_of
from headway.dialects.types import VersionTable
from headway.dialects.urls import DatabaseURL
from headway.errors import DatabaseMissing, DatabaseUnreachable, EnvironmentFailed

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
            f"There is no database {address.url.database} that the schema {schema} could be made "
            f"in: {address}. Nothing was made. Make the database first."
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
    if found is None or found.lower() != first.lower():
        raise DatabaseMissing(
            f"There is no schema {first} in {address}, or its user may not use it. Nothing was "
            "changed. Make it first: CREATE SCHEMA."
        )
    if elsewhere:
        raise EnvironmentFailed(
            f"The search_path of {address} leads to {elsewhere}, which is another one's: {first} "
            "has no such table yet. Nothing was changed. Name the schema alone, as in "
            f"?schema={first}."
        )
