"""The rules of a rollout, as values: its waves, the gates between them, its windows."""
