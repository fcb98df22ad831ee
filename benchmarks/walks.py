"""How many files a value enters on its way, which is what a reader has to open to follow it.

    python benchmarks/walks.py                # URL, target, run and status, each with its count
    python benchmarks/walks.py --show         # and each file in the order in which it is entered

A file of `app/` or `headway/` is entered when a function of another file is called with the value,
or with an object of ours that holds it; again and again, with no other in between, counts once.
Methods of the value itself are no step of a walk. All runs in this process, on SQLite; the
process that runs projects' code is called directly.
"""

import argparse
import contextlib
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sqlalchemy.engine import URL

from app import create_app
from app.extensions import db
from app.fleet.accounts import tokens
from app.fleet.isolation import parent
from app.fleet.isolation.requests import Requests
from app.fleet.runs import claims, execute
from app.models import Role
from headway import Project
from headway.connections.address import Address
from headway.types import Status
from tests.conftest import settings_for
from tests.fleet.conftest import person
from tests.fleet.fleets import ME, Fleet, fleet_on
from tests.fleet.fleets import ROOT as ADMIN

OURS = (f"{ROOT}/app/", f"{ROOT}/headway/")
DEPTH = 2
MOST = 50
"""Elements of a collection that are looked at."""


class Walk:
    """The files that a value enters while this lasts."""

    def __init__(self, is_it: Callable[[object], bool]) -> None:
        self.is_it = is_it
        self.entered: list[str] = []
        self.inside: list[tuple[FrameType, str]] = []

    def __enter__(self) -> Self:
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        if event == "return" and self.inside and self.inside[-1][0] is frame:
            self.inside.pop()
        if event != "call" or not frame.f_code.co_filename.startswith(OURS):
            return
        code = frame.f_code
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        given = [frame.f_locals.get(name) for name in (*names, *code.co_freevars)]
        file = code.co_filename.removeprefix(f"{ROOT}/")
        if names[:1] == ("self",) and self.is_it(given[0]):  # what the value says of itself
            self.inside.append((frame, file))
        elif any(self._holds(value, DEPTH) for value in given):
            from_elsewhere = not self.inside or self.inside[-1][1] != file
            if from_elsewhere and self.entered[-1:] != [file]:
                self.entered.append(file)
            self.inside.append((frame, file))

    def _holds(self, value: object, depth: int) -> bool:
        if self.is_it(value):
            return True
        if depth == 0:
            return False
        if isinstance(value, dict):
            parts: list[Any] = list(value.values())[:MOST]
        elif isinstance(value, (list, tuple, set, frozenset)):
            parts = list(value)[:MOST]
        elif type(value).__module__.startswith(("app.", "headway.")):
            parts = list(getattr(value, "__dict__", {}).values())[:MOST]
        else:
            return False
        return any(self._holds(part, depth - 1) for part in parts)


def url(fleet: Fleet) -> list[str]:
    """A URL, from `POST /api/v1/databases` to the dialect of its driver."""
    account, _ = person(Role.OPERATOR, "walker")
    issued, _ = tokens.issue_token(ADMIN, account_id=account.id, name="w", expires_days=1)
    client = fleet.app.test_client()

    def is_it(value: object) -> bool:
        return "walked" in (str(value.database) if isinstance(value, URL) else str(value)) and (
            isinstance(value, URL) or (isinstance(value, str) and "://" in value)
        )

    with Walk(is_it) as walk:
        answer = client.post(
            "/api/v1/databases",
            json={"project_id": fleet.project_id, "url": "postgresql://u:p@h/walked"},
            headers={"Authorization": f"Bearer {issued.text}"},
        )
    assert answer.status_code == 201, answer.text
    last = max(n for n, file in enumerate(walk.entered) if file.startswith("headway/dialects/"))
    return walk.entered[: last + 1]


def target(fleet: Fleet) -> list[str]:
    """A target, from `flask rollouts create` to the step that is executed."""
    fleet.add("t")
    command = ["rollouts", "create", "--project", "shop", "--target", "r002", "--wave", "100%"]
    with Walk(lambda value: value == "r002") as walk:
        done = fleet.app.test_cli_runner().invoke(args=[*command, "--start"])
        assert done.exit_code == 0, done.output
        fleet.drain()
    last = max(n for n, file in enumerate(walk.entered) if file.startswith("headway/execution/"))
    return walk.entered[: last + 1]


def run(fleet: Fleet) -> list[str]:
    """A run, from its claim by a worker to its result."""
    fleet.add("r")
    fleet.start(target="r003")
    with db.engine.begin() as connection:  # a number that nothing else has
        connection.exec_driver_sql("UPDATE run SET id = 77001")
    db.session.remove()
    (claimed,) = claims.claim(ME, 1)
    with Walk(lambda value: type(value) is int and value == claimed) as walk:
        execute.execute(claimed, ME)
    return walk.entered


def status(fleet: Fleet) -> list[str]:
    """An address, from `Database.status()` to the position that it returns."""
    path = fleet.file("s")
    database = Project.load(fleet.scripts).at(path)
    database.status()
    with Walk(lambda value: isinstance(value, (Address, Status))) as walk:
        database.status()
    return walk.entered


@contextlib.contextmanager
def in_this_process() -> Iterator[None]:
    """Requests to the process that runs projects' code, done by what it would call."""
    before = parent.call

    def call(name: str, *arguments: Any, **options: Any) -> Any:
        def answer(callback: str, *given: object) -> Any:
            return options["answers"][callback](*given)

        channel: Any = SimpleNamespace(ask=answer, tell=answer)
        return getattr(Requests(channel), name)(*arguments)

    parent.call = call
    try:
        yield
    finally:
        parent.call = before


WALKS = {"url": (url, 8), "target": (target, 15), "run": (run, 10), "status": (status, 8)}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--show", action="store_true", help="each file that is entered")
    asked.add_argument("walks", nargs="*", default=[], help=f"of {', '.join(WALKS)}; all")
    given = asked.parse_args()
    for name, (walk, most) in WALKS.items():
        if given.walks and name not in given.walks:
            continue
        with tempfile.TemporaryDirectory() as folder, fleet_at(Path(folder)) as fleet:
            entered = walk(fleet)
        others = len(set(entered))
        print(f"{name:7} {len(entered):4} times a file is entered, {others} files; at most {most}")
        if given.show:
            print("".join(f"        {file}\n" for file in entered))


@contextlib.contextmanager
def fleet_at(folder: Path) -> Iterator[Fleet]:
    catalog = URL.create("sqlite", database=str(folder / "catalog.sqlite"))
    create_app(settings_for(catalog), migrate=True)
    with in_this_process(), fleet_on(catalog, folder) as fleet:
        yield fleet


if __name__ == "__main__":
    main()
