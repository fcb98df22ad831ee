"""What gunicorn and `flask` load: `gunicorn wsgi:app`, `flask run`, `flask catalog status`."""

import gc

# What is imported is no garbage: to look through it again and again took a tenth of each start.
gc.set_threshold(50_000)

from app import create_app

app = create_app()
