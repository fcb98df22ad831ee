"""SQLite: files, their lock, their rows, their snapshots."""
