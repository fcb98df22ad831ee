"""`gunicorn`, here, serves the shop and answers probes while its database is brought to head."""

import os

from headway.boot.gunicorn import hooks

wsgi_app = os.environ.get("APP", "app.with_flask_migrate") + ":create_app()"
bind = f"127.0.0.1:{os.environ.get('PORT', '8000')}"
workers = 2

when_ready, on_reload, post_fork = hooks(app=wsgi_app)
