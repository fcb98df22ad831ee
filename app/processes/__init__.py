"""The service's processes: its web workers, its boot, its workers for runs, their supervisor.

The gunicorn master imports the modules of the web worker, and its workers keep them after a
reload: these import nothing of the app.
"""
