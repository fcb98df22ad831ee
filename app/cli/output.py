"""What the command line answers: exit codes, tables, JSON."""

from enum import IntEnum

import click

from app.errors import HeadwayError, Kind


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


class Refusal(click.ClickException):
    """An error of ours, shown as its sentence, with the exit code of its kind."""

    def __init__(self, error: HeadwayError) -> None:
        super().__init__(str(error))
        self.exit_code = EXIT_OF[error.kind]
