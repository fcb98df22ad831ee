"""What others get while the server is kept busy, and what it then keeps in memory.

    python benchmarks/slow_clients.py
    python benchmarks/slow_clients.py --seconds 10 --worker-class gthread

Two web processes with the shipped configuration. The clients send nothing, a head, a body or chunks
a byte at a time, or read the largest answers a byte at a time; each time the server closes one,
another comes. Then fifty import from a database server that says nothing, and fifty sign in with
wrong passwords, each again as soon as it is answered: see loads.py. Meanwhile /healthz is asked ten
times a second, and pages and API fifty times.
"""

import argparse
import asyncio
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from sqlalchemy.engine import URL

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from app import create_app
from app.extensions import db
from app.fleet.accounts import tokens
from app.models import Role
from tests import servers
from tests.conftest import environment_for, settings_for
from tests.fleet.conftest import person
from tests.fleet.fleets import ROOT as SOMEBODY
from tests.live import ready
from tests.slow_clients import SENT, Answers, measure, slow_clients

FLAGS = re.MULTILINE | re.DOTALL
KINDS = ("none", *SENT, "imports", "sign-ins")
PATHS = ["/sign-in", "/api/v1/me", "/assets/headway.css", "/api/v1/databases"]


def token_on(url: URL, role: Role) -> str:
    """A token of somebody on a catalog at head."""
    with create_app(settings_for(url), migrate=False).app_context():
        account, _ = person(role, f"{role} of the benchmark")
        made, _ = tokens.issue_token(SOMEBODY, account_id=account.id, name="x", expires_days=1)
        db.engine.dispose()
        return made.text or ""


def memory(master: psutil.Process) -> float:
    """MiB of the server's processes, each page counted once."""
    family = [master, *master.children(recursive=True)]
    return float(sum(each.memory_full_info().pss for each in family) / 2**20)


def allowed() -> int:
    """MiB that the Deployment allows."""
    text = (ROOT / "docs/kubernetes/deployment.yaml").read_text()
    return int(re.findall(r"limits:\s+memory: (\d+)Mi", text)[0])


def line(kind: str, health: Answers, others: Answers, most: float) -> None:
    print(
        f"{kind:9}{len(health.wrong):7}{health.median * 1000:11.1f}{health.worst * 1000:10.1f}"
        f"{len(others.seconds):12}{len(others.wrong):8}{others.median * 1000:11.1f}"
        f"{others.worst * 1000:10.1f}{most:9.0f}",
        flush=True,
    )
    for wrong in sorted(set(health.wrong + others.wrong))[:3]:
        print("        ", wrong)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="for each kind")
    parser.add_argument("--count", type=int, default=200, help="slow clients")
    parser.add_argument("--many", type=int, default=50, help="imports, and sign-ins, at once")
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--worker-class", default=None, help="another one of gunicorn")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = URL.create("sqlite", database=f"{folder}/catalog.sqlite")
        port = servers.free_port()
        command = [str(Path(sys.executable).with_name("gunicorn")), "wsgi:app"]
        if options.worker_class:
            command += ["--worker-class", options.worker_class]
        # Else the limits of an address would stop the sign-ins.
        more = {"HEADWAY_TRUSTED_PROXIES": "1"}
        env = environment_for(url, PORT=str(port), WEB_CONCURRENCY="2", **more)
        log = Path(folder, "log")
        with log.open("w") as said:
            process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=said, stderr=said)
        try:
            while not ready(port):
                time.sleep(0.2)
            token, operator = token_on(url, Role.VIEWER), token_on(url, Role.OPERATOR)
            good = attack(psutil.Process(process.pid), port, token, operator, options)
            if bugs := re.findall(
                r"Traceback.*?^\S*(?:Error|Exception)\b.*?$", log.read_text(), FLAGS
            ):
                print(f"{len(bugs)} tracebacks in the log; the first:", bugs[0], sep="\n")
            return good
        finally:
            process.terminate()
            process.wait(60)


@contextlib.contextmanager
def load(kind: str, port: int, operator: str, options: argparse.Namespace) -> Iterator[None]:
    """Clients of `loads.py`, in a process of their own; how they were answered is printed."""
    count, seconds = str(options.many), str(options.seconds + 2)
    command = [sys.executable, "benchmarks/loads.py", kind, str(port), count, seconds, operator]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    time.sleep(2)
    try:
        yield
        told, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    print("        ", told.strip())


def attack(
    master: psutil.Process, port: int, token: str, operator: str, options: argparse.Namespace
) -> int:
    print(
        f"{os.cpu_count()} processors, {options.count} slow clients, {options.many} imports and "
        f"sign-ins, {options.seconds:.0f} s each"
    )
    print("             /healthz                      others at 50 a second              PSS")
    print("kind       wrong  median ms  worst ms    requests   wrong  median ms  worst ms      MiB")
    good = True
    for kind in options.kinds:
        found: list[float] = []
        with contextlib.ExitStack() as stack:
            if kind in SENT:
                stack.enter_context(slow_clients(port, kind, options.count))
            elif kind != "none":
                stack.enter_context(load(kind, port, operator, options))
            health, others = asyncio.run(
                measure(
                    port,
                    PATHS,
                    options.seconds,
                    token,
                    lambda: found.append(memory(master)),  # noqa: B023
                )
            )
        line(kind, health, others, max(found))
        good &= not health.wrong and not others.wrong and max(found) < allowed()
        good &= health.median < 0.1 and health.worst < 1
    print("as promised" if good else "NOT as promised: see docs/container.md")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
