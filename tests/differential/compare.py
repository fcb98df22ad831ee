"""One generated project: what Headway makes of it beside what plain Alembic makes."""

import difflib
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL

from tests.differential.dumps import (
    dump,
    folder,
    globals_of_postgresql,
    values_of_chance,
    without_chance,
    write,
)
from tests.differential.generate import LOOKS, NAMES, OWNER, Generated
from tests.differential.worker import Server

NEIGHBOUR = [
    "CREATE TABLE item (id INTEGER PRIMARY KEY, name VARCHAR(50), n INTEGER)",
    "CREATE TABLE log (k VARCHAR(60), v VARCHAR(200))",
    "INSERT INTO item VALUES (1, 'not yours', 1)",
]
SCHEMAS = [
    "CREATE SCHEMA acme",
    "CREATE SCHEMA neighbour",
    f"GRANT ALL ON SCHEMA public, acme TO {OWNER}",
    "CREATE TABLE neighbour.item (id serial, name text)",
    "INSERT INTO neighbour.item (name) VALUES ('not yours')",
]
UNCHANGED = ("as it was", "Nothing was changed", "nothing was changed")
NOTHING_STAYS = (*UNCHANGED, "Nothing of it stays")
BY_NATURE = re.compile(r"env_was_here|\.ud\d")
CLAUSES = (
    *("AUTOINCREMENT", "DESC", "CHECK", "COLLATE", "UNIQUE", "REFERENCES", "DEFERRABLE", "STRICT"),
    *("ON DELETE", "ON UPDATE", "ON CONFLICT", "WITHOUT ROWID", "GENERATED", "STORED", "DEFAULT"),
)
"""What a table has that a rebuild may leave out."""
BEYOND_ALEMBIC = (
    "RuntimeError: asyncio.run() cannot be called from a running event loop",
    # An `autocommit_block` in the transaction of a connection that was handed over.
    "AssertionError: ",
    # A relative folder on the path, and an env.py that goes to another directory.
    "ModuleNotFoundError: No module named 'settings'",
)
"""What plain Alembic fails at and Headway need not."""
APPLIED = re.compile(r"Applied before it: ([\w, ]+)\.")


@dataclass
class Result:
    """What was found about one project."""

    name: str
    pieces: list[str]
    findings: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Refusals that are right answers."""
    replays: int = 0
    mode: str = ""

    def __str__(self) -> str:
        lines = [f"{self.name} ({self.mode}): {', '.join(self.pieces)}"]
        return "\n  - ".join(lines + list(dict.fromkeys(self.findings)))


@dataclass
class Places:
    """Where the databases of one project are."""

    folder: Path
    theirs: list[str]
    """The URLs that Alembic gets."""
    ours: list[str]
    own: str = ""
    """The database that the application's settings name."""
    neighbour: str = ""


@contextmanager
def places(made: Generated, servers: Mapping[str, URL]) -> Iterator[Places]:
    """Empty databases for both, and two that nobody may touch."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        root = Path(name).resolve()
        for part in ("theirs", "ours", "beside"):
            (root / part).mkdir()
        if made.dialect == "sqlite":
            yield _files(made, root)
            return
        server = servers[made.dialect]
        with _on_server(made, root, server) as found:
            yield found


def _files(made: Generated, root: Path) -> Places:
    driver = "sqlite+aiosqlite" if made.env.setting("driver") else "sqlite"

    def at(part: str, name: str) -> str:
        return f"{driver}:///{root / part / name}.db"

    found = Places(
        root,
        [at("theirs", name) for name in NAMES],
        [at("ours", name) for name in NAMES],
        at("beside", "own"),
        at("beside", "neighbour"),
    )
    write(found.own, NEIGHBOUR)
    write(found.neighbour, NEIGHBOUR)
    return found


@contextmanager
def _on_server(made: Generated, root: Path, server: URL) -> Iterator[Places]:
    mark = f"hwfuzz_{os.getpid()}_{next(_numbers)}"
    ours = [f"{mark}_ours_{name}" for name in NAMES[: len(made.moves)]]
    theirs = [name.replace("_ours_", "_theirs_") for name in ours]
    beside = [] if made.bare else [f"{mark}_own", f"{mark}_neighbour"]
    needed = [name for name, moves in zip(theirs, made.moves, strict=True) if not is_shared(moves)]
    needed += [n for n, moves in zip(ours, made.moves, strict=True) if moves[0][0] != "create"]
    postgresql = made.dialect == "postgresql"
    force = " WITH (FORCE)" if postgresql else ""
    maintenance = server.render_as_string(hide_password=False)

    def at(name: str) -> str:
        return server.set(database=name).render_as_string(hide_password=False)

    try:
        if postgresql:
            write(maintenance, [f"CREATE ROLE {OWNER}"])
        write(maintenance, [f"CREATE DATABASE {name}" for name in (*needed, *beside)])
        for name in (*needed, *beside) if postgresql and not made.bare else ():
            write(at(name), SCHEMAS)
        for name in beside:
            write(at(name), NEIGHBOUR)
        yield Places(root, [*map(at, theirs)], [*map(at, ours)], *map(at, beside))
    finally:
        every = (*theirs, *ours, *beside)
        write(maintenance, [f"DROP DATABASE IF EXISTS {name}{force}" for name in every])
        if postgresql:
            write(maintenance, [f"DROP ROLE IF EXISTS {OWNER}"])


_numbers = itertools.count(1)


def compare(
    made: Generated, alembic: Server, headway: Server, servers: Mapping[str, URL]
) -> Result:
    """Make it of three databases with both; what is not the same, and what was touched."""
    result = Result(made.name, made.pieces)
    with places(made, servers) as there:
        ini = made.write(there.folder / "project")
        theirs: list[dict[str, Any]] = []
        for place, moves in enumerate(made.moves):
            if is_shared(moves):
                known = theirs[0].get("moves", [])
                told = [state_of(known, move) for move in moves if move[0] not in LOOKS]
                theirs.append({"moves": told})
            else:
                theirs.append(_alembic(made, ini, there, place, alembic))
        caches = list((there.folder / "project").rglob("__pycache__"))
        for one in caches:
            shutil.rmtree(one)
        before = _surroundings(made, there, servers)
        ours = _headway(made, ini, there, headway)
        after = _surroundings(made, there, servers)
        for name in before:
            if before[name] != after[name]:
                result.findings.append(f"{name} was touched: {_first(before[name], after[name])}")
        _judge(made, theirs, ours, there, result)
    return result


def is_shared(moves: list[list[Any]]) -> bool:
    """True if its states are some of the first database's: no run of Alembic's own is needed."""
    return any(len(move) > 2 for move in moves)


def state_of(known: list[dict[str, Any]], move: list[Any]) -> dict[str, Any]:
    """The state that a move leads to, by its number; nothing is compared without one."""
    number = move[2] if len(move) > 2 else None
    return known[number] if number is not None and number < len(known) else {"dump": None}


def _surroundings(made: Generated, there: Places, servers: Mapping[str, URL]) -> dict[str, str]:
    found = {
        "the application's own database": dump(there.own) if there.own else "",
        "a neighbour": dump(there.neighbour) if there.neighbour else "",
        "the project's folder": "\n".join(
            f"{k}: {v}" for k, v in folder(there.folder / "project").items()
        ),
        "the folder beside": "\n".join(folder(there.folder / "beside")),
        "the databases' folder": "\n".join(
            name
            for name in folder(there.folder / "ours")
            if not name.endswith(".db") or name.removesuffix(".db") not in NAMES
        ),
    }
    if made.dialect == "postgresql":
        found["roles and settings of the server"] = globals_of_postgresql(
            servers["postgresql"], OWNER
        )
    return found


def _environ(made: Generated, ini: Path, url: str, name: str) -> dict[str, str]:
    words = str(ini.parent / "scripts" / "words.txt")
    return {"APP_URL": url, "TENANT": name, "WORDS": words, "PYTHONDONTWRITEBYTECODE": "1"}


def _alembic(
    made: Generated, ini: Path, there: Places, place: int, server: Server
) -> dict[str, Any]:
    url = there.theirs[place]
    moves = [_as_alembic(*move) for move in made.moves[place] if move[0] not in LOOKS]
    return server.run(
        "steps",
        ini=str(ini),
        url=url,
        moves=moves,
        environ=_environ(made, ini, url, NAMES[place]),
        x={"tenant": NAMES[place]} if made.reads_x else {},
        hand_over=made.env.setting("hand_over"),
    )


def _as_alembic(name: str, what: Any) -> list[Any]:
    return [{"create": "upgrade", "adopt": "stamp"}.get(name, name), what]


def _headway(made: Generated, ini: Path, there: Places, server: Server) -> dict[str, Any]:
    databases = [
        {
            "url": url,
            "moves": made.moves[place],
            "environ": _environ(made, ini, there.own or "sqlite://", NAMES[place]),
            "x": {"tenant": NAMES[place]} if made.reads_x else {},
        }
        for place, url in enumerate(there.ours[: len(made.moves)])
    ]
    location = str(ini.parent / "scripts")
    return server.run(
        "project", ini=str(ini), location=location, databases=databases, watch=str(there.folder)
    )


def _judge(
    made: Generated,
    theirs: list[dict[str, Any]],
    ours: dict[str, Any],
    there: Places,
    result: Result,
) -> None:
    say = result.findings.append
    if "crash" in ours:
        say(f"crash: {ours['crash'][-1500:]} {ours.get('stderr', '')[-300:]}")
        return
    result.findings += [f"left in the process: {line}" for line in ours.get("state", [])]
    if ours.get("stdout"):
        say(f"standard output: {ours['stdout'][:200]!r}")
    if ours.get("temporary"):
        say(f"temporary files are left: {ours['temporary']}")
    if "refused" in ours:
        _refusal(made, "load", ours, result)
        return
    whole = []
    for place, one in enumerate(ours["databases"]):
        if "crash" in theirs[place]:
            say(f"the reference crashed: {theirs[place]['crash'][-800:]}")
            return
        told = theirs[place]["moves"]
        of_first = is_shared(made.moves[place])
        urls = (there.theirs[0 if of_first else place], there.ours[place])
        last = _one_database(made, one["moves"], told, urls, NAMES[place], result)
        if last is not None:
            whole.append((set(last["chance"]), values_of_chance(told[-1]["dump"] or "")))
    for (one, theirs_one), (other, _) in itertools.combinations(whole, 2):
        if one & other and theirs_one:
            say(f"two databases share a value: {sorted(one & other)[:2]}")
            break


def _one_database(  # noqa: PLR0911, PLR0912  # one for each way to end
    made: Generated,
    moves: list[dict[str, Any]],
    told: list[dict[str, Any]],
    urls: tuple[str, str],
    name: str,
    result: Result,
) -> dict[str, Any] | None:
    """The last move, where all went as with Alembic."""
    theirs, say = iter(told), result.findings.append
    last, before, was = None, "", ""
    for answer in moves:
        where = f"{name}, {' '.join(map(str, answer['move']))[:20]}"
        result.mode = result.mode or answer.get("mode", "")
        result.replays += bool(answer.get("replayed"))
        if answer["move"][0] in LOOKS:
            failed = any(one.get("failed") for one in told)
            _look(made, where, answer, result, failed=failed)
            continue
        expected = next(theirs, None)
        if "crash" in answer:
            say(f"{where}: traceback: {' '.join(answer['crash'].split())[:400]}")
            return None
        if made.bare and not made.keeps and expected and expected.get("failed"):
            say(
                f"{where}: Alembic itself fails, so this compares nothing: {expected['failed'][:300]}"
            )
            return None
        lost = losses(before, expected["dump"]) if made.keeps and expected else []
        before = (expected or {}).get("dump") or ""
        if lost and "refused" not in answer and losses(was, answer.get("dump", "")):
            say(f"{where}: lost without a word: {lost}")
            return None
        was = answer.get("dump", "")
        if "refused" in answer:
            failed = bool(lost or (expected and expected.get("failed")))
            _refusal(made, where, answer, result, failed=failed)
            return None
        if expected is None:
            return None
        if expected["dump"] is None:
            continue
        if failed := expected.get("failed"):
            if answer["move"][0] != "rows" and not _is_beyond_alembic(made, failed):
                say(f"{where}: done, though Alembic says {failed[:300]}")
            return None
        if answer["move"][0] == "adopt" and answer["revision"] != answer["move"][1]:
            say(f"{where}: it is adopted as {answer['revision']}")
            return None
        if target := lost_version(made, answer["move"], expected["dump"]):
            if versions(answer["dump"]) != [target]:
                say(f"{where}: its version is {versions(answer['dump'])}")
            return None
        here = without_chance(answer["dump"], urls[1])
        there = without_chance(expected["dump"], urls[0])
        if here != there:
            how = " by replay" if answer.get("replayed") else ""
            say(f"{where}{how}: differs from Alembic's: {_first(there, here)}")
            return None
        last = answer
    return last


def _is_beyond_alembic(made: Generated, failed: str) -> bool:
    """True if plain Alembic fails at something that Headway need not fail at."""
    # An engine of its own sees nothing of a run's open transaction; here it works inside of that.
    own = any(piece.startswith("own connection") for piece in made.pieces)
    return failed.startswith(BEYOND_ALEMBIC) or (own and "UndefinedTable" in failed)


def versions(dumped: str) -> list[str]:
    """The revisions that a dump says."""
    return re.findall(r"alembic_version\b.*'(\w+)'", dumped)


def lost_version(made: Generated, move: list[Any], dumped: str) -> str:
    """The version that Alembic itself lost: after a `commit()` of the bind it commits no more.

    Headway writes it down, and is compared no further.
    """
    if made.dialect == "sqlite" or "get_bind().commit()" not in made.text or move[0] != "upgrade":
        return ""
    target = str(move[1]) if str(move[1]).startswith("r") else made.history[-1].id
    return "" if versions(dumped) == [target] else target


def losses(before: str, after: str) -> list[str]:
    """Objects that a dump of SQLite has lost, and what was said of them."""
    made = re.compile(r"^(?:index|trigger|view|table) .* on .*?:", re.MULTILINE)
    found = sorted(set(made.findall(before)) - set(made.findall(after)))
    return found + [
        word
        for word in CLAUSES
        if len(re.findall(rf"\b{word}\b", before)) > len(re.findall(rf"\b{word}\b", after))
    ]


def _look(
    made: Generated, where: str, answer: dict[str, Any], result: Result, *, failed: bool
) -> None:
    """What is said of a look; `failed`: Alembic itself fails at what it looks at."""
    say = result.findings.append
    if answer.get("changed"):
        say(f"{where}: it, or a look before it, changed the database")
    if "crash" in answer:
        say(f"{where}: traceback: {' '.join(answer['crash'].split())[:400]}")
    if "refused" in answer:
        kind = answer["refused"]["kind"]
        right = kind == "PreviewImpossible" or made.fails or made.refusable
        if not right:
            say(f"{where}: refused: {kind}: {answer['refused']['words'][:300]}")
    # What env.py itself makes, and a default that is random by nature, are no answer of a revision.
    right = set()
    if "option: include_schemas" in made.pieces:
        right = {"extra table neighbour.item"}  # `alembic check` would take it away
    found = (one for one in answer.get("drift", ()) if one not in right)
    if drift := [one for one in found if not BY_NATURE.search(one)]:
        say(f"{where}: untouched, and drift is told: {drift[:4]}")
    if answer.get("failed") and not (failed or made.fails or made.refusable):
        say(f"{where}: failed on the copy: {answer['failed'][:300]}")


def _refusal(
    made: Generated, where: str, answer: dict[str, Any], result: Result, *, failed: bool = False
) -> None:
    kind, words = answer["refused"]["kind"], answer["refused"]["words"]
    text = f"{where}: refused: {kind}: {words[:400]}"
    if not words.strip() or "Traceback" in words or not words.rstrip().endswith((".", "`", ")")):
        result.findings.append(f"{text} (not in words)")
    if answer.get("changed"):
        if any(claim in words for claim in UNCHANGED):
            result.findings.append(f"{text} (and the database changed)")
        elif "half" in answer["dump"] and any(claim in words for claim in NOTHING_STAYS):
            result.findings.append(f"{text} (and part of it stays)")
        elif (
            answer.get("position") != "torn"
            and "transaction_per_migration" not in made.text
            and not _says_where_it_is(words, answer["dump"])
        ):
            result.findings.append(f"{text} (changed, and it is {answer.get('position')})")
    if failed or made.fails or made.refusable:
        result.refused.append(text)
    else:
        result.findings.append(text)


def _says_where_it_is(words: str, dumped: str) -> bool:
    """True if a refusal names what stays, and the database is at the last of it."""
    if "in runs of its own, stays." in words:
        return True
    said = APPLIED.search(words)
    return bool(said) and versions(dumped) == [said[1].split(", ")[-1]]


def _first(one: str, two: str) -> str:
    """The first lines that differ."""
    lines = difflib.unified_diff(one.splitlines(), two.splitlines(), lineterm="", n=0)
    return " | ".join(line[:220] for line in itertools.islice(lines, 2, 9))
