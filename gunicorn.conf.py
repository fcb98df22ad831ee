"""gunicorn as Headway wants it; gunicorn reads this file from the working directory.

`HOST`, `PORT` and `WEB_CONCURRENCY` change the address and the number of workers; everything
else by gunicorn's own options, which win over this file.
"""

import os
import shutil
import signal
import sys
import tempfile
from types import FrameType
from typing import Any

from gunicorn.glogging import Logger

from app.processes.supervisor import Workers
from headway.boot.gunicorn import boot_first, end_with_master
from headway.boot.probes import STOPS

bind = f"{os.environ.get('HOST', '127.0.0.1')}:{os.environ.get('PORT', '8000')}"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
worker_class = "app.processes.web_worker.WebWorker"
threads = 16  # more than app.fleet.core.places has for requests that wait
worker_connections = 500  # of each worker; at the limit, the one that has waited longest is closed
timeout = 60
graceful_timeout = 25  # within the 30 s that Kubernetes gives
keepalive = 5
forwarded_allow_ips = ""  # HEADWAY_TRUSTED_PROXIES says who is believed, not the address
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108, PTH112
control_socket_disable = True  # no admin socket that nobody asked for

# Workers add their metrics up in files here.
metrics = os.environ.get("PROMETHEUS_MULTIPROC_DIR") or tempfile.mkdtemp(prefix="headway-metrics-")
os.environ["PROMETHEUS_MULTIPROC_DIR"] = metrics


class Lines(Logger):  # type: ignore[misc]
    """gunicorn's own lines too are JSON where all the others are."""

    def setup(self, cfg: Any) -> None:
        """Told the configuration, at the start and at HUP."""
        super().setup(cfg)
        if os.environ.get("HEADWAY_LOG_FORMAT") == "json":
            from app.log_lines import formatter

            for handler in (*self.error_log.handlers, *self.access_log.handlers):
                handler.setFormatter(formatter("json"))


logger_class = Lines


def when_ready(server: Any) -> None:
    """The sockets listen and no worker is there: bring the catalog to head, answering probes."""
    if server.cfg.preload_app:  # the app is loaded, so it has booted
        from app.settings import Settings

        return _start_workers(server, Settings.from_env().embedded)
    _remember_address(server)
    told = boot_first(server, (sys.executable, "-m", "app.processes.boot"))
    return _start_workers(server, told["workers"])


def _remember_address(server: Any) -> None:
    """Let the invitation of the first admin say where this really is: `--bind` may have won."""
    name = server.LISTENERS[0].getsockname()
    if isinstance(name, tuple):  # and not a unix socket, behind which is another address
        os.environ["HOST"], os.environ["PORT"] = name[0], str(name[1])


def _start_workers(server: Any, count: int) -> None:
    """Workers beside the web server, told to stop at the same moment as it is."""
    if not count:
        return
    # After USR2 those of the old master go on until it ends, with the code that is there now.
    beside = Workers(count, patience=server.cfg.graceful_timeout, after=server.master_pid)
    server.headway_workers = beside  # this file is read anew at HUP; the server stays

    def stop(number: int, frame: FrameType | None) -> None:
        beside.stop()
        server.signal(number, frame)

    for number in STOPS:
        signal.signal(number, stop)

    def a_child_ended(number: int, frame: FrameType | None) -> None:
        beside.revive()
        server.signal_chld(number, frame)

    signal.signal(signal.SIGCHLD, a_child_ended)


def on_reload(server: Any) -> None:
    """HUP: new workers of either kind, with the code that is there now."""
    if beside := getattr(server, "headway_workers", None):
        beside.renew()


def post_fork(server: Any, worker: Any) -> None:  # noqa: ARG001
    """A worker that is still loading must not outlive its master with the port in its hands."""
    end_with_master()


def post_worker_init(worker: Any) -> None:
    """Streams end when the worker is told to stop, instead of keeping it until it is killed."""
    from app.http.event_stream import LEAVING

    worker.wsgi.extensions[LEAVING] = lambda: not worker.alive


def child_exit(server: Any, worker: Any) -> None:  # noqa: ARG001
    """Forget the gauges of a worker that is gone."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:
    """Let the workers end, and leave nothing in the temporary folder."""
    if beside := getattr(server, "headway_workers", None):
        beside.wait()
    if os.path.basename(metrics).startswith("headway-metrics-"):  # noqa: PTH119
        shutil.rmtree(metrics, ignore_errors=True)
