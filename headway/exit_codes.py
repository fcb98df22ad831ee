"""What a process of ours answers to the shell, to a container's runtime, to a server's master."""

from enum import IntEnum

from headway.errors import Kind


class Exit(IntEnum):
    """What the shell is told. `docs/cli.md` has the same table; a test compares."""

    OK = 0
    FAILED = 1
    USAGE = 2
    FOUND = 3
    PARTLY = 4
    TRY_AGAIN = 75
    DENIED = 77
    MISCONFIGURED = 78


EXIT_OF = {
    Kind.NOT_FOUND: Exit.FAILED,
    Kind.INVALID: Exit.USAGE,
    Kind.CONFLICT: Exit.FAILED,
    Kind.STALE: Exit.FAILED,
    Kind.BUSY: Exit.TRY_AGAIN,
    Kind.UNREACHABLE: Exit.TRY_AGAIN,
    Kind.FAILED: Exit.FAILED,
    Kind.DENIED: Exit.DENIED,
    Kind.MISCONFIGURED: Exit.MISCONFIGURED,
    Kind.INTERNAL: Exit.FAILED,
}
