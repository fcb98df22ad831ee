"""A team's script directory: its files, its options, its env.py."""
