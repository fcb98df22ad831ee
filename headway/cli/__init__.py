"""Commands for one database: `headway …`, and `flask migrate …` where there is Flask."""

import sys


def main() -> None:
    """Run `headway`. Ends the program."""
    try:
        from headway.cli.commands import migrate  # noqa: PLC0415  # click is an extra
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.exit("The command needs what its extra brings: pip install 'headway[cli]'.")
    migrate(prog_name="headway")
