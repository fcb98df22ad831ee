"""`python -m tests.differential`: show a generated project, or compare many.

--seed N [--show]   one project: what is found about it, or its files
--seeds A:B         those numbers
--alone [WORD …]    each piece on its own (whose name has one of the words)
"""

import argparse
import importlib
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context

from sqlalchemy.engine import URL

from tests.differential.compare import Result, compare
from tests.differential.generate import Generated, alone, generate
from tests.differential.worker import Server

POSTGRESQL = URL.create("postgresql+psycopg", "postgres", host="127.0.0.1", database="postgres")
MARIADB = URL.create("mysql+pymysql", "root", host="127.0.0.1")


@cache
def server(kind: str) -> Server:
    return Server(kind)


def one(made: Generated) -> Result:
    servers = {"postgresql": POSTGRESQL, "mariadb": MARIADB}
    return compare(made, server("alembic"), server("headway"), servers)


def of_seed(seed: int) -> Result:
    return one(generate(seed))


def of_place(place: int) -> Result:
    return one(list(alone())[place])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--seeds")
    parser.add_argument("--alone", nargs="*")
    parser.add_argument("-j", type=int, default=2)
    given = parser.parse_args()
    if given.seed is not None:
        made = generate(given.seed)
        print(made.text if given.show else one(made))
        if given.show:
            print(made.moves)
        return
    work, numbers = of_seed, list(range(*map(int, (given.seeds or "0:25").split(":"))))
    if given.alone is not None:
        work = of_place
        numbers = [
            place
            for place, made in enumerate(alone())
            if not given.alone or any(word in made.name for word in given.alone)
        ]
    tell(work, numbers, given.j)


def tell(work: object, numbers: list[int], processes: int) -> None:
    blamed: Counter[str] = Counter()
    wrong = refused = replays = 0
    # Not forked: each process has a role of its own on the server.
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        for result in pool.map(work, numbers):  # type: ignore[arg-type]
            replays += result.replays
            refused += bool(result.refused)
            if result.findings:
                wrong += 1
                blamed.update(set(result.pieces))
                print(result, flush=True)
    total = len(numbers)
    print(f"{total} projects: {wrong} wrong, {refused} refused, {replays} upgrades replayed")
    print(blamed.most_common(25), file=sys.stderr)


if __name__ == "__main__":
    # By the name that other processes know its functions by.
    importlib.import_module("tests.differential.__main__").main()
