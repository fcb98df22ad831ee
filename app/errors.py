"""The errors of the service: of its catalog, its accounts and its fleet.

The errors of a single database, and the base class, are in `headway.errors`.
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
    """A valid token is needed."""

    kind = Kind.DENIED


class PasswordRefused(HeadwayError):
    """The e-mail address or the password is wrong."""

    kind = Kind.DENIED


class TooManyAttempts(HeadwayError):
    """Too many sign-ins were refused."""

    kind = Kind.BUSY


class ConfirmationNeeded(HeadwayError):
    """This needs your password, or a sign-in of the last half hour."""

    kind = Kind.DENIED


class SignInRefused(HeadwayError):
    """The sign-in with the provider was refused."""

    kind = Kind.DENIED


class ProviderUnreachable(HeadwayError):
    """The sign-in provider does not answer."""

    kind = Kind.UNREACHABLE


class RoleInsufficient(HeadwayError):
    """Your role does not allow this."""

    kind = Kind.DENIED


class InputInvalid(HeadwayError):
    """A value in the request is invalid."""

    kind = Kind.INVALID


class IdempotencyKeyReused(HeadwayError):
    """This idempotency key was used for another request."""

    kind = Kind.CONFLICT


# --- the fleet ------------------------------------------------------------------------------


class EncryptionKeyMissing(HeadwayError):
    """There is no key to encrypt secrets with."""

    kind = Kind.MISCONFIGURED


class SecretUnreadable(HeadwayError):
    """A secret was encrypted with a key that is not among HEADWAY_ENCRYPTION_KEYS."""

    kind = Kind.MISCONFIGURED


class ProjectNotFound(HeadwayError):
    """There is no such project."""

    kind = Kind.NOT_FOUND


class ProjectNotReady(HeadwayError):
    """The scripts of this project have not been read yet, or cannot be used."""

    kind = Kind.CONFLICT


class DatabaseNotFound(HeadwayError):
    """There is no such database in the fleet."""

    kind = Kind.NOT_FOUND


class NameTaken(HeadwayError):
    """This name is taken."""

    kind = Kind.CONFLICT


class DatabaseRegistered(HeadwayError):
    """This database is registered already."""

    kind = Kind.CONFLICT


class OutsideRoots(HeadwayError):
    """This is not in a folder that Headway may use."""

    kind = Kind.INVALID


class DifferenceNotFound(HeadwayError):
    """There is no such difference in the databases of the project."""

    kind = Kind.NOT_FOUND


class RecordChanged(HeadwayError):
    """It was changed since you read it."""

    kind = Kind.STALE


class RolloutNotFound(HeadwayError):
    """There is no such rollout."""

    kind = Kind.NOT_FOUND


class RolloutRefused(HeadwayError):
    """The rollout does not allow this at its present stage."""

    kind = Kind.CONFLICT


class ApprovalRefused(HeadwayError):
    """Another account has to approve this."""

    kind = Kind.DENIED


class RunNotFound(HeadwayError):
    """There is no such run."""

    kind = Kind.NOT_FOUND


class TooManyStreams(HeadwayError):
    """Too many streams are open on this server."""

    kind = Kind.BUSY


class ServerBusy(HeadwayError):
    """This server answers as many requests of this kind as it may."""

    kind = Kind.BUSY


class CheckFailed(HeadwayError):
    """The database was migrated, but does not pass the check of its rollout."""

    kind = Kind.FAILED


class RunTimedOut(HeadwayError):
    """The run took longer than its rollout allows, and was stopped."""

    kind = Kind.FAILED


class BrokerUnreachable(HeadwayError):
    """The broker that distributes runs to the workers does not answer."""

    kind = Kind.UNREACHABLE


class WebhookNotFound(HeadwayError):
    """There is no such webhook."""

    kind = Kind.NOT_FOUND
