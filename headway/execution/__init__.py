"""One run: revisions on one database, watched, recorded, taken back."""
