"""`celery -A app.processes.celery …`: this release's Celery app, with the catalog behind it."""

from app import boot, logs
from app.fleet.workers.celery import celery_for
from app.processes.worker import catalog_app, quiet_alembic_log
from app.settings import Settings

_settings = Settings.from_env()
logs.configure(_settings)
quiet_alembic_log()
celery = celery_for(catalog_app(_settings), state=boot.state)
