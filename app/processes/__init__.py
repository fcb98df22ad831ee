"""The processes of the service beside the web server: boot, worker, Celery, supervisor."""
