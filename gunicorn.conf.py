"""gunicorn as Headway wants it; gunicorn reads this file from the working directory.

`HOST`, `PORT` and `WEB_CONCURRENCY` change the address and the number of workers; everything
else by gunicorn's own options, which win over this file.
"""

import os
import shutil
import signal
import tempfile
from typing import Any

from app.probes import STOPS, boot_behind_probes, end_with_parent

bind = f"{os.environ.get('HOST', '127.0.0.1')}:{os.environ.get('PORT', '8000')}"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
worker_class = "gthread"
threads = 4
timeout = 60
graceful_timeout = 25  # within the 30 s that Kubernetes gives
keepalive = 5
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108, PTH112
control_socket_disable = True  # no admin socket that nobody asked for

# Workers add their metrics up in files here.
metrics = os.environ.get("PROMETHEUS_MULTIPROC_DIR") or tempfile.mkdtemp(prefix="headway-metrics-")
os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics


def when_ready(server: Any) -> None:
    """The sockets listen and no worker is there: bring the catalog to head, answering probes."""
    if server.cfg.preload_app:
        return  # the app is loaded, so it has booted
    tls = None
    if server.cfg.is_ssl:
        from gunicorn.sock import ssl_context

        tls = ssl_context(server.cfg)
    # After USR2 the old master still serves on these sockets: leave its requests alone.
    upgrading = server.master_pid != 0
    listeners = [] if upgrading else [listener.sock for listener in server.LISTENERS]
    boot, code = boot_behind_probes(listeners, tls=tls, patience=server.cfg.graceful_timeout)
    for number in STOPS:
        signal.signal(number, server.signal)
    if boot.stopped:
        server.halt(reason="told to stop while bringing the catalog to head")
    if code:
        server.halt(reason="the catalog could not be brought to head", exit_status=code)
    os.environ["HEADWAY_BOOTED_HEADS"] = boot.said["heads"]


def post_fork(server: Any, worker: Any) -> None:  # noqa: ARG001
    """A worker that is still loading must not outlive its master with the port in its hands."""
    end_with_parent()


def child_exit(server: Any, worker: Any) -> None:  # noqa: ARG001
    """Forget the gauges of a worker that is gone."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:  # noqa: ARG001
    """Leave nothing in the temporary folder."""
    if os.path.basename(metrics).startswith("headway-metrics-"):  # noqa: PTH119
        shutil.rmtree(metrics, ignore_errors=True)
