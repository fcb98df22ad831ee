"""The programs of `examples/` started many times at once, and killed: who dies, what is left.

    python benchmarks/boot_examples.py                     # all, 10 tries each
    python benchmarks/boot_examples.py --only sqlite --tries 2 --program with_scripts
    python benchmarks/boot_examples.py --kill 20           # kill -9 at so many moments of a boot
    python benchmarks/boot_examples.py --table             # what the file of results has so far

A try is good if no process and no worker dies, each revision is in the history exactly once, there
is one version row, and all are ready. `plain` is the recipe without Headway, in the same run. Every
cell is tried once before any is tried again, and each result is added to a file of JSON lines.

A kill is good if the next start brings the database to head, with what each revision does in it
once. MariaDB commits each statement, so that there the next start may refuse a torn database; then
`repair` is run first, as the refusal says.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL

HERE = Path(__file__).resolve().parent.parent
sys.path.append(str(HERE))
EXAMPLES, BIN = HERE / "examples", Path(sys.executable).parent
FLASK = ("with_flask_migrate", "with_flask_alembic", "with_scripts")
REVISIONS = ("f0001", "f0002")
STATES = {"empty": None, "behind": "f0001", "head": "f0002"}
FOLDER = dict.fromkeys(FLASK, EXAMPLES / "flask-app") | {"fastapi": EXAMPLES / "fastapi-app"}
SCRIPTS = EXAMPLES / "fastapi-app" / "migrations"
SECONDS = 120
Attempt = Callable[[URL], list[str]]
CAPTURED: dict[str, Any] = {"capture_output": True, "text": True}

# --- in a process of its own: fork, and boot at once ----------------------------------------------


def prepared(program: str, *, plain: bool) -> Callable[[], object]:
    """What one process of a program does when it starts, its modules imported already."""
    sys.path.insert(0, str(Path.cwd()))
    if program == "fastapi":
        import lifespan  # type: ignore[import-not-found]

        if plain:
            return _plain_alembic(str(SCRIPTS))
        boot = lifespan.bring_to_head
        return lambda: boot(lifespan.database.project, lifespan.engine)
    if not plain:
        import importlib

        return importlib.import_module(f"app.{program}").create_app  # type: ignore[no-any-return]
    from app.shop import db, make_app  # type: ignore[import-untyped]

    if program == "with_scripts":
        return _plain_alembic(str(SCRIPTS))

    def boot_plain() -> None:
        flask_app = make_app()
        if program == "with_flask_migrate":
            from flask_migrate import Migrate, upgrade

            Migrate(flask_app, db)
            with flask_app.app_context():
                upgrade()
        else:
            from flask_alembic import Alembic

            flask_app.config["ALEMBIC"] = {"script_location": "../migrations/versions"}
            alembic = Alembic(flask_app, run_mkdir=False)
            with flask_app.app_context():
                alembic.upgrade()

    return boot_plain


def _plain_alembic(scripts: str) -> Callable[[], object]:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", scripts)
    return lambda: command.upgrade(config, "head")


def fork(program: str, count: int, *, plain: bool) -> int:
    """Start so many at once; how many died."""
    boot, context = prepared(program, plain=plain), multiprocessing.get_context("fork")
    barrier = context.Barrier(count)

    def one() -> None:
        barrier.wait()
        boot()

    started = [context.Process(target=one) for _ in range(count)]
    for process in started:
        process.start()
    for process in started:
        process.join(SECONDS)
    return sum(process.exitcode != 0 for process in started)


# --- one try --------------------------------------------------------------------------------------


def environment(url: URL, **more: str) -> dict[str, str]:
    text = url.render_as_string(hide_password=False)
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"DATABASE_URL": text, "HEADWAY_MIGRATE_URL": text, "PATH": path, **more}


def processes(program: str, url: URL, *, plain: bool = False) -> list[str]:
    command = [sys.executable, __file__, "--fork", program, *(["--plain"] if plain else [])]
    done = subprocess.run(
        command, cwd=FOLDER[program], env=environment(url), check=False, **CAPTURED
    )
    return [] if done.returncode == 0 else [done.stderr.strip().splitlines()[-1]]


def servers_of(program: str, port: int, *, boot: bool) -> list[str]:
    """A server with four workers: each boots by itself, or `headway boot` does before."""
    bind = f"127.0.0.1:{port}"
    if program != "fastapi":
        factory = f"app.{program}:create_app()"
        server = ["gunicorn", "-w", "4", "-b", bind, "-c", "/dev/null", factory]
        return ["headway", "boot", "--app", factory, "--bind", bind, *server] if boot else server
    if not boot:
        return ["uvicorn", "lifespan:app", "--workers", "4", "--port", str(port)]
    server = ["uvicorn", "main:app", "--workers", "4", "--fd", "{fd}"]
    return ["headway", "boot", "--scripts", str(SCRIPTS), "--bind", bind, *server]


def twice(program: str, url: URL, *, boot: bool) -> list[str]:
    """Two such servers at once."""
    from tests import servers

    ports = [servers.free_port() for _ in range(2)]
    with ExitStack() as stack:
        logs = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in ports]
        started = [
            subprocess.Popen(
                servers_of(program, port, boot=boot),
                cwd=FOLDER[program],
                env=environment(url),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
            for port, log in zip(ports, logs, strict=True)
        ]
        wrong = [text for port in ports for text in _ready(port)]
        for process in started:
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(SECONDS) for process in started]
        wrong += [f"exit {code}" for code in codes if code not in (0, -signal.SIGTERM)]
        for log in logs:
            log.seek(0)
            bad = ("Traceback", "exited with code", "failed to boot", "died", "was sent SIG")
            wrong += [line for line in log.read().splitlines() if any(word in line for word in bad)]
    return wrong


def _ready(port: int) -> list[str]:
    deadline, last = time.monotonic() + SECONDS, ""
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10):
                return []
        except OSError as error:
            last = str(error)
        time.sleep(0.05)
    return [f"never ready: {last}"]


def left_behind(url: URL, *, plain: bool) -> list[str]:
    """What a good try leaves: one version row, each revision once."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        rows = connection.scalars(sa.text("SELECT version_num FROM alembic_version")).all()
        wrong = [] if list(rows) == ["f0002"] else [f"version rows {rows}"]
        if not plain:
            found = connection.scalars(sa.text("SELECT revision FROM headway_history"))
            applied = Counter(found)
            wrong += [] if applied == Counter(REVISIONS) else [f"history {dict(applied)}"]
    return wrong


# --- all of it ------------------------------------------------------------------------------------


@contextlib.contextmanager
def database(server: URL | None, state: str) -> Iterator[URL]:
    from headway import Project
    from tests.conftest import database_on

    with ExitStack() as stack:
        if server is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            url = URL.create("sqlite", database=f"{folder}/shop.db")
        else:
            url = stack.enter_context(database_on(server))
        if target := STATES[state]:
            Project.load(SCRIPTS).at(url, history=True).upgrade(target)
        yield url


def note(out: Path, **result: object) -> None:
    """Add a result to the file, and print what was not good."""
    with out.open("a") as file:
        file.write(json.dumps(result) + "\n")
    if result["wrong"]:
        print(*result.values(), flush=True)


def kinds(program: str) -> dict[str, Attempt]:
    server = "uvicorn" if program == "fastapi" else "gunicorn"
    return {
        "8 processes": lambda url: processes(program, url),
        f"2 x {server}, 4 workers": lambda url: twice(program, url, boot=False),
        f"2 x headway boot, {server}": lambda url: twice(program, url, boot=True),
        "8 processes, plain": lambda url: processes(program, url, plain=True),
    }


def chosen(all_: dict[str, Attempt], name: str | None) -> dict[str, Attempt]:
    """The one of this name; else those whose names it is a part of."""
    if name in all_:
        return {name: all_[name]}
    return {kind: found for kind, found in all_.items() if not name or name in kind}


def race(args: argparse.Namespace, places: dict[str, URL | None]) -> int:
    """Try each cell once, then each again."""
    bad = 0
    for _ in range(args.tries):
        for backend, server in places.items():
            for program in args.program or FOLDER:
                for kind, attempt in chosen(kinds(program), args.kind).items():
                    plain = kind.endswith("plain")
                    for state in args.state or STATES:
                        began = time.monotonic()
                        with database(server, state) as url:
                            wrong = attempt(url) or left_behind(url, plain=plain)
                        cell = {"program": program, "kind": kind, "on": backend, "state": state}
                        seconds = round(time.monotonic() - began, 1)
                        note(args.out, **cell, seconds=seconds, wrong=wrong)
                        bad += bool(wrong) and not plain
    return bad


def kill(args: argparse.Namespace, places: dict[str, URL | None]) -> int:
    """Kill each program at so many moments, evenly over the time that its boot takes here."""
    from tests.examples.victims import PROGRAMS, Victim

    bad = 0
    for backend, server in places.items():
        for program in args.program or PROGRAMS:
            with tempfile.TemporaryDirectory() as name:
                victim = Victim(program, Path(name))
                with database(server, "empty") as url:
                    code, last, within = victim.boot(url)
                    assert code == 0, last
                for number in range(args.kill):
                    moment = within * (number + 1) / (args.kill + 1)
                    with database(server, "empty") as url:
                        found = victim.after_kill(url, moment)
                    wrong = [text for text in found if text not in ("repaired", "had ended")]
                    cell = {"program": program, "kind": "kill -9", "on": backend}
                    how = found[0] if found and not wrong else ""
                    note(args.out, **cell, state=how, seconds=round(moment, 2), wrong=wrong)
                    bad += bool(wrong)
    return bad


def print_table(out: Path) -> None:
    """Good tries of all, by kind and then by program; of kills, how many had to be repaired."""
    found = [json.loads(line) for line in out.read_text().splitlines()]
    columns = list(dict.fromkeys(column for one in found for column in _columns(one)))
    titles = (f" {' '.join(column).strip()} |" for column in columns)
    print("| |" + "".join(titles), "|---|" + "--:|" * len(columns), sep="\n")
    for names in (("kind",), ("kind", "program")):
        counts: dict[str, Counter[tuple[str, str, bool]]] = {}
        for one in found:
            row = counts.setdefault(", ".join(one[name] for name in names), Counter())
            row.update((*column, not one["wrong"]) for column in _columns(one))
        for title, row in sorted(counts.items()):
            tries = [(row[*c, True], row[*c, True] + row[*c, False]) for c in columns]
            cells = (f" {good} of {all_} |" if all_ else " |" for good, all_ in tries)
            print(f"| {title} |" + "".join(cells))


def _columns(one: dict[str, Any]) -> list[tuple[str, str]]:
    """Where a result is counted. A kill also by what had to be done, if anything."""
    if one["kind"] != "kill -9":
        return [(one["on"], one["state"])]
    return [(one["on"], "")] + [(one["on"], one["state"])] * bool(one["state"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=10)
    parser.add_argument("--only", action="append", choices=["sqlite", "postgresql", "mariadb"])
    parser.add_argument("--state", action="append", choices=STATES)
    parser.add_argument("--program", action="append", choices=FOLDER)
    parser.add_argument("--kind", help="the name of a kind, or a part of several")
    parser.add_argument("--kill", type=int, default=0, help="kill -9 at so many moments instead")
    parser.add_argument("--out", type=Path, default=Path("boot_examples.jsonl"))
    parser.add_argument("--table", action="store_true", help="print the results of that file")
    parser.add_argument("--fork", help=argparse.SUPPRESS)
    parser.add_argument("--plain", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.fork:
        return fork(args.fork, 8, plain=args.plain)
    if args.table:
        print_table(args.out)
        return 0
    from tests import servers

    with ExitStack() as stack:
        places: dict[str, URL | None] = {}
        for backend in args.only or ("sqlite", "postgresql", "mariadb"):
            is_file = backend == "sqlite"
            places[backend] = None if is_file else stack.enter_context(getattr(servers, backend)())
        bad = (kill if args.kill else race)(args, places)
    print_table(args.out)
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
