"""HTTP shared by the API and the pages: request ids, health, metrics, event streams."""
