#!/usr/bin/env python3
"""Build the image, run it as it is shipped, and look whether it keeps what the docs promise.

    tests/container/build_and_boot.py --engine docker
    tests/container/build_and_boot.py                    # Podman, as root, on a base made here

Needs only Python's standard library, and Docker; or podman, runc, catatonit and debootstrap.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import engine as engines
from engine import Container, Engine

SECRET = "0123456789abcdef" * 4
NOWHERE = "postgresql://headway:none@127.0.0.1:1/headway"
BUILD_TOOLS = ("cc", "gcc", "g++", "clang", "make", "ld", "pip", "pip3", "uv", "git")
BUILD_MODULES = ("pip", "ensurepip", "setuptools", "wheel", "hatchling", "pytest")
ENTRIES = {"LICENSE", "__pycache__", "app", "docs", "gunicorn.conf.py", "migrations"}
ENTRIES |= {"README.md", "pyproject.toml", "wsgi.py"}
SLOW = '''"""A backfill of some seconds"""
import time

revision, down_revision, branch_labels, depends_on = "c9999", "{head}", None, None


def upgrade() -> None:
    time.sleep({seconds})


def downgrade() -> None:
    pass
'''


CUSTOMER = '''"""Somebody else's first revision"""
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "{head}", None, None, None


def upgrade():
    op.create_table("customer", sa.Column("id", sa.Integer, primary_key=True))
'''


@contextlib.contextmanager
def step(promise: str) -> Iterator[list[str]]:
    """One line for one promise, with what was measured."""
    began, notes = time.monotonic(), list[str]()
    yield notes
    print(f"ok  {promise}: {'; '.join(notes)}" if notes else f"ok  {promise}", end=" ")
    print(f"({time.monotonic() - began:.1f} s)", flush=True)


def ready(status: int, _: object) -> bool:
    return status == 200


def look_inside(engine: Engine) -> None:
    with step("the last stage has no compiler, no pip and nothing that builds") as notes:
        tools = " ".join(BUILD_TOOLS)
        found = engine.once("sh", "-c", f"for tool in {tools}; do command -v $tool; done; true")
        assert not found, found
        code = "import importlib.util as u, sys; print(*filter(u.find_spec, sys.argv[1:]))"
        found = engine.once("python3", "-c", code, *BUILD_MODULES).strip()
        assert not found, found
        size = engine.call("image", "inspect", engines.IMAGE, "--format", "{{.Size}}").stdout
        notes.append(f"image of {int(size) / 1e6:.0f} MB")
    with step("only what the service needs is in its folder"):
        entries = set(engine.once("ls", "-A").split())
        assert entries == ENTRIES, entries ^ ENTRIES
    with step("its user is a number, not root, and owns /catalog and /data alone"):
        user = engine.config()["User"].split(":")[0]
        assert user.isdecimal()
        assert user != "0"
        find = "find / -xdev -writable -not -type l -not -path '/proc/*' -not -path '/dev/*'"
        mine = engine.once("sh", "-c", f"{find} 2>/dev/null; true").split()
        assert set(mine) <= {"/catalog", "/data", "/tmp", "/var/tmp", "/run/lock"}, mine
    with step("all of its bytecode is there"):
        code = (
            "import pathlib; print(*(p for f in ('/opt/headway/lib', '.') "
            "for p in pathlib.Path(f).rglob('*.py') "
            "if not list((p.parent / '__pycache__').glob(p.stem + '.*.pyc'))))"
        )
        assert not (found := engine.once("python3", "-c", code).strip()), found


def first_boot(engine: Engine, data: tuple[str, ...]) -> str:
    """An empty volume, everything as shipped; the revision that the catalog is at."""
    with engine.start("headway-first", *data) as container:
        with step("an empty volume boots on a read-only root") as notes:
            container.until(ready, "/healthz")
            notes.append(f"first answer after {container.seconds():.1f} s")
            head = str(container.until(ready, "/readyz")["head"])
            notes.append(f"ready at {head} after {container.seconds():.1f} s")
        inspect_running(container)
        end(container, "SIGTERM ends it with exit code 0")
    return head


def inspect_running(container: Container) -> None:
    with step("the health check of the image agrees"):
        assert container.is_healthy()
    with step("management commands work inside"):
        done = container.run("flask", "catalog", "status", "--check")
        assert done.returncode == 0, done.stdout + done.stderr
    with step("the root cannot be written, the volume can, its secret is its owner's"):
        assert container.run("touch", "/srv/headway/x").returncode
        assert container.run("touch", "/x").returncode
        mode = container.run("stat", "-c", "%a %u", "/catalog/secret_key").stdout.split()
        assert mode == ["600", container.engine.config()["User"].split(":")[0]], mode
    with step("gunicorn itself is the first process") as notes:
        command = container.run("cat", "/proc/1/cmdline").stdout.split("\0")
        assert command[1].endswith("/gunicorn"), command
        code = (
            "import pathlib; print(sum(int(line.split()[1]) for p in pathlib.Path('/proc')"
            ".glob('[0-9]*/smaps_rollup') if (p.parent / 'cmdline').read_text().find('gunicorn') > 0"
            " for line in p.read_text().splitlines() if line.startswith('Pss:')))"
        )
        notes.append(f"{int(container.run('python3', '-c', code).stdout) / 1024:.0f} MiB in use")


def end(container: Container, promise: str, *, within: float = 28) -> None:
    with step(promise) as notes:
        code, seconds = container.stop()
        assert code == 0, f"exit code {code}\n{container.logs()}"
        assert seconds < within, f"{seconds:.1f} s"
        notes.append(f"after {seconds:.1f} s")


def slow_boot(engine: Engine, data: tuple[str, ...], head: str, folder: Path) -> None:
    """The catalog of the first boot, and a release with one slow revision more."""
    script = folder / "c9999_slow.py"
    script.write_text(SLOW.format(head=head, seconds=6))
    script.chmod(0o644)
    mounts = (*data, "--volume", f"{script}:/srv/headway/migrations/{script.name}:ro")
    with engine.start("headway-slow-stopped", *mounts) as container:
        migrating(container)
        end(container, "SIGTERM in the middle of a migration ends it with exit code 0", within=10)
    with engine.start("headway-slow", *mounts) as container:
        migrating(container)
        with step("the interrupted migration is done by the next start") as notes:
            body = container.until(ready, "/readyz")
            assert body["head"] == "c9999", body
            notes.append(f"ready after {container.seconds():.1f} s")
    with engine.start("headway-older", *data) as container, step("the older release still serves"):
        body = container.until(ready, "/readyz")
        assert body["state"] == "degraded", body


def migrating(container: Container) -> None:
    with step("while it migrates it is alive and not ready, and says why") as notes:
        says = container.until(lambda _, body: body["state"] == "migrating", "/readyz")
        assert container.get("/readyz")[0] == 503
        assert container.get("/healthz")[0] == 200
        assert container.is_healthy()
        notes.append(f"revision {says['revision']}, running {says['running']}")


def early_end(engine: Engine, data: tuple[str, ...]) -> None:
    """Without an init the kernel drops it: a first process has no signals before it asks for them."""
    with step("with an init, SIGTERM in the first moments is not lost") as notes:
        for delay in (0.0, 0.1, 0.2, 0.4):
            with engine.start("headway-early", "--init", *data) as container:
                time.sleep(delay)
                code, seconds = container.stop()
                assert code in (0, 143), f"exit code {code}\n{container.logs()}"
                assert seconds < 10, f"{seconds:.1f} s"
                notes.append(f"{delay} s: exit code {code} after {seconds:.1f} s")


def server_catalog(engine: Engine, url: str, number: int) -> None:
    options = ("--network", "host", "--env", f"HEADWAY_SECRET_KEY={SECRET}")
    options += ("--env", f"HEADWAY_DATABASE_URL={url}")
    kind = url.partition(":")[0]
    with contextlib.ExitStack() as stack, step(f"two replicas boot on one {kind} catalog") as notes:
        replicas = [
            stack.enter_context(engine.start(f"headway-{number}-{letter}", *options))
            for letter in "ab"
        ]
        for replica in replicas:
            notes.append(f"ready at {replica.until(ready, '/readyz')['head']}")
            notes.append(f"after {replica.seconds():.1f} s")
        history = json.loads(replicas[0].run("flask", "catalog", "history", "--json").stdout)
        revisions = [row["revision"] for row in history]
        assert revisions, "no history"
        assert len(revisions) == len(set(revisions)), revisions
        notes.append(f"{len(revisions)} revisions, each applied once")
        for replica in replicas:
            assert replica.stop()[0] == 0


def migrate_only(engine: Engine, data: tuple[str, ...], folder: Path) -> None:
    """No service, no settings, a read-only root: only scripts that are mounted, and a URL."""
    scripts = folder / "scripts"
    (scripts / "versions").mkdir(parents=True)
    text = CUSTOMER.format(head="one")
    (scripts / "versions" / "one.py").write_text(text)
    for path in (scripts, *scripts.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    hard = ("--read-only", "--env", "HEADWAY_MIGRATE_URL=sqlite:////data/customer.db")
    options = (*hard, *data, "--volume", f"{scripts}:/scripts:ro")
    with step("it migrates any other database, with the scripts mounted") as notes:
        upgrade = ("flask", "migrate", "upgrade", "--scripts", "/scripts")
        notes.append(engine.once(*upgrade, options=options).splitlines()[-1])
        status = ("flask", "migrate", "status", "--check", "--scripts", "/scripts")
        assert "at head" in engine.once(*status, options=options)


def refusals(engine: Engine) -> None:
    with step("a server catalog without a secret key is refused with exit code 78"):
        option = ("--env", f"HEADWAY_DATABASE_URL={NOWHERE}")
        with engine.start("headway-refused", *option) as container:
            assert container.exit_code() == 78, container.logs()
            assert "HEADWAY_SECRET_KEY is not set" in container.logs()
    with step("a volume of another owner is refused in words"):
        option = ("--tmpfs", "/catalog:mode=0700")
        with engine.start("headway-foreign", *option) as container:
            assert container.exit_code() == 78, container.logs()
            assert "cannot be used" in container.logs(), container.logs()


def prove(engine: Engine, options: argparse.Namespace, folder: Path) -> None:
    if not options.base and options.engine == "podman":
        with step("base image made"):
            options.base = engine.make_base(folder / "base")
    with step("built"):
        engine.build(options.base, options.volume)
    look_inside(engine)
    volume = f"headway-proof-{os.getpid()}"
    data = ("--volume", f"{volume}:/catalog", "--volume", f"{volume}-data:/data")
    try:
        head = first_boot(engine, data)
        early_end(engine, data)
        slow_boot(engine, data, head, folder)
        migrate_only(engine, data, folder)
    finally:
        engine.call("volume", "rm", "--force", volume, f"{volume}-data", check=False)
    refusals(engine)
    for number, url in enumerate(options.catalog):
        server_catalog(engine, url, number)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=("docker", "podman"), default="podman")
    parser.add_argument("--base", help="base image; default: the Dockerfile's, or one made here")
    parser.add_argument(
        "--volume", action="append", default=[], help="HOST:CONTAINER, seen by the build's steps"
    )
    parser.add_argument(
        "--catalog", action="append", default=[], help="URL of an empty server catalog, from here"
    )
    parser.add_argument("--store", type=Path, help="keep Podman's images here for the next time")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory(prefix="headway-image-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        store = options.store or folder / "store"
        engine = Engine.docker() if options.engine == "docker" else Engine.podman(store)
        try:
            prove(engine, options, folder)
        finally:
            engines.leave(folder)


if __name__ == "__main__":
    main()
