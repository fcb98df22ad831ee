"""The processes of the service: how the web server serves.

What a gunicorn master imports its workers keep using after a reload, so nothing of the app is
imported here.
"""
