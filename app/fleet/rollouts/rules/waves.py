"""Waves: how many databases each has. Pure arithmetic."""

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise, zip_longest
from math import ceil
from typing import TypeVar

from app.errors import InputInvalid

DEFAULT = ("1", "5%", "25%", "100%")
WAVE = re.compile(r"([0-9]{1,9})|([0-9]{1,3}(?:\.[0-9]{1,3})?)%")
MOST = 50

Item = TypeVar("Item")


def parse(waves: Sequence[str]) -> tuple[str, ...]:
    """Validated waves, as they are stored. Raises InputInvalid.

    Each is the number of databases that are done after it: `1`, `5%`, `100%`. The last wave takes
    the rest in any case.
    """
    parsed = tuple(wave.strip() for wave in waves)
    if not parsed or len(parsed) > MOST:
        raise InputInvalid(f"A rollout has 1 to {MOST} waves: {', '.join(DEFAULT)} for example.")
    for wave in parsed:
        found = WAVE.fullmatch(wave)
        number = float(found[1] or found[2]) if found else 0
        if not found or not number or (found[2] and number > 100):  # noqa: PLR2004
            raise InputInvalid(
                f"{wave!r} is not a wave: give a number (`10`) or a percentage (`25%`).",
                field="waves",
            )
    for unit in (False, True):
        same = [wave for wave in parsed if wave.endswith("%") is unit]
        for before, wave in pairwise(same):
            if float(wave.rstrip("%")) < float(before.rstrip("%")):
                raise InputInvalid(
                    f"Wave {wave} after {before}: waves must grow. Give how many databases are "
                    f"done after each wave, for example {', '.join(DEFAULT)}.",
                    field="waves",
                )
    return parsed


def sizes(waves: Sequence[str], total: int) -> list[int]:
    """The number of databases in each wave. Empty waves are left out."""
    ends = [0]
    for wave in waves:
        part, percent = wave.removesuffix("%"), wave.endswith("%")
        end = ceil(total * float(part) / 100) if percent else int(part)
        ends.append(min(max(end, ends[-1]), total))
    ends.append(total)
    return [end - start for start, end in pairwise(ends) if end > start]


def spread(groups: Iterable[Sequence[Item]]) -> list[Item]:
    """All items of all groups, so that neighbours are of different groups if possible."""
    missing = object()
    turns = zip_longest(*groups, fillvalue=missing)
    return [item for turn in turns for item in turn if item is not missing]  # type: ignore[misc]
