"""Reports on the fleet: overview, revision charts, the drawing of a rollout, metrics, settings."""
