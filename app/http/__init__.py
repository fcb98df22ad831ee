"""What the API and the pages share of HTTP: request ids, health, metrics, event streams."""
