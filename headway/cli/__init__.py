"""Commands for one database: `headway …`, and `flask migrate …` where there is Flask."""

import gc
import os
import sys


def main() -> None:
    """Run `headway`. Ends the program."""
    # What is imported is no garbage: to look through it again and again took a tenth of a start.
    gc.set_threshold(50_000)
    # As `flask` and `python -m` have it: `--scripts package:folder` names a package that is here.
    sys.path.insert(0, os.getcwd())  # noqa: PTH109  # no pathlib for `--help`
    try:
        if sys.argv[1:2] == ["boot"]:  # without what the other commands need: it answers sooner
            from headway.cli.boot import boot  # noqa: PLC0415

            boot(sys.argv[2:], prog_name="headway boot")
        from headway.cli.commands import migrate  # noqa: PLC0415  # click is an extra
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.exit("The command needs what its extra brings: pip install 'headway[cli]'.")
    migrate(prog_name="headway")
