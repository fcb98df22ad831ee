"""What would run: steps, SQL, operations, risks."""
