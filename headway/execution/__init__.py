"""One run: revisions on one database, checked, recorded, undone."""
