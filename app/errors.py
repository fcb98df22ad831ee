"""The errors of the service: of its catalog, its accounts and its fleet.

Those of one database, and what all have in common, are in `headway.errors`.
"""

from headway.errors import (
    DatabaseAhead,
    DatabaseBehind,
    DatabaseForeign,
    DatabaseTorn,
    DatabaseUnstamped,
    HeadwayError,
    Kind,
    name_commands,
)

name_commands("flask migrate")

# --- settings -------------------------------------------------------------------------------


class SettingInvalid(HeadwayError):
    """A setting has a value that cannot be used."""

    kind = Kind.MISCONFIGURED


class CatalogAhead(DatabaseAhead):
    """The catalog is newer than this release."""


class CatalogForeign(DatabaseForeign):
    """This database belongs to another program."""


class CatalogBehind(DatabaseBehind):
    """The catalog is older than this release needs."""


class CatalogTorn(DatabaseTorn):
    """A revision began and never ended."""


class CatalogUnstamped(DatabaseUnstamped):
    """The catalog has tables but no version, and its schema is no revision's."""


class CatalogBusy(HeadwayError):
    """The catalog is busy with other changes."""

    kind = Kind.BUSY


# --- accounts and tokens --------------------------------------------------------------------


class AccountNotFound(HeadwayError):
    """There is no such account."""

    kind = Kind.NOT_FOUND


class EmailTaken(HeadwayError):
    """Another account has this e-mail address."""

    kind = Kind.CONFLICT


class AccountChanged(HeadwayError):
    """The account was changed since you read it."""

    kind = Kind.STALE


class LastAdmin(HeadwayError):
    """This is the last account that can administer Headway."""

    kind = Kind.CONFLICT


class TokenNotFound(HeadwayError):
    """There is no such token."""

    kind = Kind.NOT_FOUND


class TokenRefused(HeadwayError):
    """A token that is valid is needed."""

    kind = Kind.DENIED


class PasswordRefused(HeadwayError):
    """The e-mail address and the password do not go together."""

    kind = Kind.DENIED


class SignInRefused(HeadwayError):
    """The provider of sign-ins and Headway do not agree on who this is."""

    kind = Kind.DENIED


class ProviderUnreachable(HeadwayError):
    """The provider of sign-ins does not answer."""

    kind = Kind.UNREACHABLE


class RoleInsufficient(HeadwayError):
    """Your role does not allow this."""

    kind = Kind.DENIED


class InputInvalid(HeadwayError):
    """The request says something that cannot be used."""

    kind = Kind.INVALID


class IdempotencyKeyReused(HeadwayError):
    """This idempotency key was used for another request."""

    kind = Kind.CONFLICT


# --- the fleet ------------------------------------------------------------------------------


class EncryptionKeyMissing(HeadwayError):
    """There is no key to keep secrets with."""

    kind = Kind.MISCONFIGURED


class SecretUnreadable(HeadwayError):
    """A secret was encrypted with a key that is not among HEADWAY_ENCRYPTION_KEYS."""

    kind = Kind.MISCONFIGURED


class ProjectNotFound(HeadwayError):
    """There is no such project."""

    kind = Kind.NOT_FOUND


class ProjectNotReady(HeadwayError):
    """The scripts of this project are not known yet, or cannot be used."""

    kind = Kind.CONFLICT


class DatabaseNotFound(HeadwayError):
    """There is no such database in the fleet."""

    kind = Kind.NOT_FOUND


class NameTaken(HeadwayError):
    """There is one of this name already."""

    kind = Kind.CONFLICT


class DatabaseRegistered(HeadwayError):
    """This database is registered already."""

    kind = Kind.CONFLICT


class OutsideRoots(HeadwayError):
    """This is not in a folder that Headway may use."""

    kind = Kind.INVALID


class DifferenceNotFound(HeadwayError):
    """No database of the project differs like this."""

    kind = Kind.NOT_FOUND


class RecordChanged(HeadwayError):
    """It was changed since you read it."""

    kind = Kind.STALE


class RolloutNotFound(HeadwayError):
    """There is no such rollout."""

    kind = Kind.NOT_FOUND


class RolloutRefused(HeadwayError):
    """The rollout cannot do this where it is now."""

    kind = Kind.CONFLICT


class ApprovalRefused(HeadwayError):
    """Somebody else has to approve this."""

    kind = Kind.DENIED


class RunNotFound(HeadwayError):
    """There is no such run."""

    kind = Kind.NOT_FOUND


class TooManyStreams(HeadwayError):
    """As many streams are open as this server serves at once."""

    kind = Kind.BUSY


class CheckFailed(HeadwayError):
    """The database was migrated, and does not pass the check of its rollout."""

    kind = Kind.FAILED


class RunTimedOut(HeadwayError):
    """The run took longer than its rollout allows, and was ended."""

    kind = Kind.FAILED


class BrokerUnreachable(HeadwayError):
    """The broker that carries runs to the workers does not answer."""

    kind = Kind.UNREACHABLE


class WebhookNotFound(HeadwayError):
    """There is no such webhook."""

    kind = Kind.NOT_FOUND
