"""What a process of ours answers to the shell, to a container's runtime, to a server's master."""

from enum import IntEnum

from headway.errors import ErrorKind


class Exit(IntEnum):
    """What the shell is told. `docs/cli.md` has the same table; a test compares."""

    OK = 0
    FAILED = 1
    USAGE = 2
    FOUND = 3
    PARTLY = 4
    WAITING = 5
    TRY_AGAIN = 75
    DENIED = 77
    MISCONFIGURED = 78


EXIT_OF = {
    ErrorKind.NOT_FOUND: Exit.FAILED,
    ErrorKind.INVALID: Exit.USAGE,
    ErrorKind.CONFLICT: Exit.FAILED,
    ErrorKind.STALE: Exit.FAILED,
    ErrorKind.BUSY: Exit.TRY_AGAIN,
    ErrorKind.UNREACHABLE: Exit.TRY_AGAIN,
    ErrorKind.FAILED: Exit.FAILED,
    ErrorKind.DENIED: Exit.DENIED,
    ErrorKind.MISCONFIGURED: Exit.MISCONFIGURED,
    ErrorKind.INTERNAL: Exit.FAILED,
}
