"""The errors of the service: of its catalog, its accounts and its fleet.

The errors of a single database, and the base class, are in `headway.errors`.
"""

from headway.errors import (
    DatabaseAhead,
    DatabaseBehind,
    DatabaseForeign,
    DatabaseTorn,
    DatabaseUnstamped,
    ErrorKind,
    HeadwayError,
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
    """The catalog has tables but no version, and its schema matches no revision."""


class CatalogBusy(HeadwayError):
    """The catalog is busy with other changes."""

    kind = ErrorKind.BUSY


# --- accounts and tokens --------------------------------------------------------------------


class AccountNotFound(HeadwayError):
    """There is no such account."""

    kind = ErrorKind.NOT_FOUND


class GrantNotFound(HeadwayError):
    """The account has no role of its own in this project."""

    kind = ErrorKind.NOT_FOUND


class EmailTaken(HeadwayError):
    """Another account has this e-mail address."""

    kind = ErrorKind.CONFLICT


class AccountChanged(HeadwayError):
    """The account was changed since you read it."""

    kind = ErrorKind.STALE


class LastAdmin(HeadwayError):
    """This is the last account that can administer Headway."""

    kind = ErrorKind.CONFLICT


class TokenNotFound(HeadwayError):
    """There is no such token."""

    kind = ErrorKind.NOT_FOUND


class TokenRefused(HeadwayError):
    """A valid token is needed."""

    kind = ErrorKind.DENIED


class PasswordRefused(HeadwayError):
    """The e-mail address or the password is wrong."""

    kind = ErrorKind.DENIED


class TooManyAttempts(HeadwayError):
    """Too many sign-ins were refused."""

    kind = ErrorKind.BUSY


class ConfirmationNeeded(HeadwayError):
    """This needs your password, or a sign-in within the last half hour."""

    kind = ErrorKind.DENIED


class SignInRefused(HeadwayError):
    """The sign-in with the provider was refused."""

    kind = ErrorKind.DENIED


class ProviderUnreachable(HeadwayError):
    """The sign-in provider does not answer."""

    kind = ErrorKind.UNREACHABLE


class RoleInsufficient(HeadwayError):
    """Your role does not allow this."""

    kind = ErrorKind.DENIED


class InputInvalid(HeadwayError):
    """A value in the request is invalid."""

    kind = ErrorKind.INVALID


class IdempotencyKeyReused(HeadwayError):
    """This idempotency key was used for another request."""

    kind = ErrorKind.CONFLICT


# --- the fleet ------------------------------------------------------------------------------


class EncryptionKeyMissing(HeadwayError):
    """There is no key to encrypt secrets with."""

    kind = ErrorKind.MISCONFIGURED


class SecretUnreadable(HeadwayError):
    """A secret was encrypted with a key that is not among HEADWAY_ENCRYPTION_KEYS."""

    kind = ErrorKind.MISCONFIGURED


class ProjectNotFound(HeadwayError):
    """There is no such project."""

    kind = ErrorKind.NOT_FOUND


class ProjectNotReady(HeadwayError):
    """The scripts of this project have not been read yet, or cannot be used."""

    kind = ErrorKind.CONFLICT


class DatabaseNotFound(HeadwayError):
    """There is no such database in the fleet."""

    kind = ErrorKind.NOT_FOUND


class NameTaken(HeadwayError):
    """This name is taken."""

    kind = ErrorKind.CONFLICT


class DatabaseRegistered(HeadwayError):
    """This database is registered already."""

    kind = ErrorKind.CONFLICT


class ArgumentMissing(HeadwayError):
    """The database has no usable value for a placeholder in an -x argument."""

    kind = ErrorKind.INVALID


class OutsideRoots(HeadwayError):
    """This is not in a folder that Headway may use."""

    kind = ErrorKind.INVALID


class DifferenceNotFound(HeadwayError):
    """There is no such difference in the databases of the project."""

    kind = ErrorKind.NOT_FOUND


class RecordChanged(HeadwayError):
    """It was changed since you read it."""

    kind = ErrorKind.STALE


class RolloutNotFound(HeadwayError):
    """There is no such rollout."""

    kind = ErrorKind.NOT_FOUND


class RolloutRefused(HeadwayError):
    """The rollout does not allow this at its current stage."""

    kind = ErrorKind.CONFLICT


class ApprovalRefused(HeadwayError):
    """Another account has to approve this."""

    kind = ErrorKind.DENIED


class RunNotFound(HeadwayError):
    """There is no such run."""

    kind = ErrorKind.NOT_FOUND


class TooManyStreams(HeadwayError):
    """Too many streams are open on this server."""

    kind = ErrorKind.BUSY


class ServerBusy(HeadwayError):
    """This server already answers as many requests of this kind as it can."""

    kind = ErrorKind.BUSY


class CheckFailed(HeadwayError):
    """The database was migrated, but does not pass the check of its rollout."""

    kind = ErrorKind.FAILED


class RunTimedOut(HeadwayError):
    """The run took longer than its rollout allows, and was stopped."""

    kind = ErrorKind.FAILED


class BrokerUnreachable(HeadwayError):
    """The broker that distributes runs to the workers does not answer."""

    kind = ErrorKind.UNREACHABLE


class WebhookNotFound(HeadwayError):
    """There is no such webhook."""

    kind = ErrorKind.NOT_FOUND
