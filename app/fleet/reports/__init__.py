"""Reports on the whole fleet: overview, revision charts, metrics, settings."""
