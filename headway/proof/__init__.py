"""Whether revisions give the same everywhere, so that they may be replayed."""
