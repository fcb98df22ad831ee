"""What Headway makes of a project: its databases one after the other, in one process."""

import atexit
import os
import tempfile
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headway import Project
from headway.database import Database
from headway.errors import HeadwayError
from headway.scripts import alembic_log  # noqa: F401  # Headway's own filter, there from the start
from tests.differential import alembic_jobs  # noqa: F401  # imports what projects import
from tests.differential.dumps import dump, values_of_chance, write
from tests.differential.generate import LOOKS
from tests.differential.state import differences, state


def project(ini: str, location: str, databases: list[dict[str, Any]], watch: str) -> dict[str, Any]:
    """What came of each move of each database, and what is not as it was in this process."""
    os.chdir(Path(ini or location).parent)
    temporary = Path(watch, "temporary")
    temporary.mkdir()
    tempfile.tempdir = os.environ["TMPDIR"] = str(temporary)
    before = state(Path(watch))
    found = []
    try:
        loaded = Project.load(location, ini or None)
    except HeadwayError as error:
        return {"refused": words(error), "state": differences(before, state(Path(watch)))}
    for one in databases:
        os.environ.update(one.get("environ") or {})
        before["environ"] = dict(os.environ)
        found.append(_moves(loaded, **one))
    after = state(Path(watch))
    atexit._run_exitfuncs()  # this process ends without: what was to go with it goes now
    return {
        "databases": found,
        "state": differences(before, after),
        "mode": found[0].get("mode", "") if found else "",
        "temporary": sorted(one.name for one in temporary.iterdir()),
    }


def words(error: HeadwayError) -> dict[str, str]:
    return {"kind": type(error).__name__, "words": str(error)}


def _moves(
    loaded: Project,
    url: str,
    moves: list[list[Any]],
    environ: Mapping[str, str] | None = None,
    x: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    database = loaded.at(url, x=x or {})
    answers: list[dict[str, Any]] = []
    now = dump(url)
    for place, (name, what, *_) in enumerate(moves):
        began = time.monotonic()
        answer = _move(database, url, name, what)
        answer["seconds"] = round(time.monotonic() - began, 3)
        answers.append(answer)
        if name in LOOKS and place + 1 < len(moves) and moves[place + 1][0] in LOOKS:
            continue  # the last of several looks tells of all
        was, now = now, dump(url)
        answer |= {"dump": now, "chance": values_of_chance(now), "changed": was != now}
        if ("refused" in answer or "crash" in answer) and name not in LOOKS:
            if answer["changed"]:
                answer["position"] = str(database.status().position)
            break
    return {"moves": answers}


def _move(database: Database, url: str, name: str, what: Any) -> dict[str, Any]:
    try:
        return {"move": [name, what], **_done(database, url, name, what)}
    except HeadwayError as error:
        return {"move": [name, what], "refused": words(error)}
    except BaseException as error:  # noqa: BLE001  # it is the answer
        return {"move": [name, what], "crash": f"{_where(error)}: {type(error).__name__}: {error}"}


def _where(error: BaseException) -> str:
    """The last line of ours that an error went through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [one for one in frames if f"{os.sep}app{os.sep}" in one.filename]
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"


def _done(  # noqa: PLR0911, PLR0912  # one line for each move
    database: Database, url: str, name: str, what: Any
) -> dict[str, Any]:
    match name:
        case "rows":
            write(url, what)
        case "file":
            (database.project.folder.parent / what[0]).write_text(what[1])
        case "upgrade" | "downgrade":
            outcome = getattr(database, name)(what)
            return {"replayed": outcome.replayed, "after": list(outcome.after)}
        case "create":
            return {"after": list(database.create(what))}
        case "status":
            look = database.status()
            return {"position": str(look.position), "current": list(look.current)}
        case "plan":
            plan = database.plan(what)
            return {"mode": plan.environment, "replays": plan.replays, "why": plan.why}
        case "preview":
            return {"sql": database.preview(database.plan(what))}
        case "risks":
            return {"risks": [risk.says for risk in database.risks(database.plan(what))]}
        case "rehearse":
            found = database.rehearse(database.plan(what))
            return {"failed": found.failed, "place": found.place}
        case "check":
            drift = database.check()
            models = list(drift.models) if drift.models is not None else None
            both = [*drift.differences, *(models or ())]
            return {"drift": both, "differences": drift.differences, "models": models}
        case "adopt":
            match = database.adopt()
            return {"revision": match.revision, "others": [list(one) for one in match.others]}
        case "snapshot":
            return {"snapshot": str(database.snapshot() or "")}
        case "snapshot and restore":
            taken = database.snapshot()
            write(url, what)
            if taken:
                database.restore(taken)
                taken.unlink()
                taken.with_name(f"{Path(str(database.address.path)).name}.replaced").unlink()
            return {"snapshot": str(taken)}
        case _:
            raise ValueError(name)
    return {}
