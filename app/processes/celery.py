"""`celery -A app.processes.celery …`: the Celery app of this release."""

from app import boot, logs
from app.fleet.workers.celery import celery_for
from app.processes.worker import catalog_app, quiet_alembic_log
from app.settings import Settings

_settings = Settings.from_env()
logs.configure(_settings)
quiet_alembic_log()
celery = celery_for(catalog_app(_settings), state=boot.state)
