"""`celery -A app.cli.distributed …`: the Celery app of this release, with the catalog behind it."""

from app import boot, logs
from app.cli.work import catalog_app, quiet
from app.fleet.distributed import celery_for
from app.settings import Settings

_settings = Settings.from_env()
logs.configure(_settings)
quiet()
celery = celery_for(catalog_app(_settings), state=boot.state)
