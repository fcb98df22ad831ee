"""What gunicorn and `flask` load: `gunicorn wsgi:app`, `flask run`, `flask catalog status`."""

from app import create_app

app = create_app()
