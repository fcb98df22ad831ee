"""What every package of the fleet stands on: rights, transactions, audit, URLs, paths, counts."""
