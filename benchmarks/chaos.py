"""Kill -9 of everything that carries a rollout, at random, while it goes on.

    python benchmarks/chaos.py                       # PostgreSQL catalog, Celery, and embedded
    python benchmarks/chaos.py --catalog sqlite      # the single container
    python benchmarks/chaos.py --files 0 --members 0 --tenants 200   # schemas of one database

Its own PostgreSQL and Redis, on free ports. In the end every database has to stand at the target
with each revision run in it exactly once, and the catalog has to say so too.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.fleet.chaos import chaos, examine, wreck


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--catalog", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--members", type=int, default=20, help="PostgreSQL databases.")
    parser.add_argument("--tenants", type=int, default=0, help="Schemas of one more of them.")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument(
        "--seconds", type=float, default=0.15, help="That a revision takes; 0 lets it be replayed."
    )
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    given = parser.parse_args()
    is_server = given.catalog == "postgresql"
    members, tenants = (given.members, given.tenants) if is_server else (0, 0)
    print(
        f"seed {given.seed}: {given.files} files, {members} PostgreSQL databases, "
        f"{tenants} tenants of one"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.monotonic()
        with chaos(
            folder,
            catalog=given.catalog,
            files=given.files,
            members=members,
            tenants=tenants,
            seconds=given.seconds,
            seed=given.seed,
        ) as (made, rollout):
            print(f"made in {time.monotonic() - began:.0f} s")
            began = time.monotonic()
            done = wreck(made, rollout, given.kills, patience=900)
            took = time.monotonic() - began
            seen = examine(made, rollout)
        print(f"{done} kills in {took:.0f} s: {seen}")
        if done < given.kills:
            sys.exit(f"the rollout ended before {given.kills} kills: give --seconds more")
        print("every database at the target, each revision once, none lost; the record agrees")


if __name__ == "__main__":
    main()
