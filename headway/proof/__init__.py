"""Proofs that revisions send the same SQL everywhere, so that it may be replayed."""
