"""The library by the name it had before it was a package of its own: import `headway` instead."""

from headway import Project, run_migrations, sync

__all__ = ["Project", "run_migrations", "sync"]
