"""Reports over the whole fleet: overview, charts, metrics, settings in force."""
