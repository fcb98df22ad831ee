"""Waves: how many databases each takes. Pure arithmetic."""

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
    """The waves as they are kept. Raises InputInvalid.

    Each says how many databases are through when it is: `1`, `5%`, `100%`. The last one takes
    the rest, said or not.
    """
    parsed = tuple(wave.strip() for wave in waves)
    if not parsed or len(parsed) > MOST:
        raise InputInvalid(f"A rollout has 1 to {MOST} waves: {', '.join(DEFAULT)} for example.")
    for wave in parsed:
        found = WAVE.fullmatch(wave)
        number = float(found[1] or found[2]) if found else 0
        if not found or not number or (found[2] and number > 100):  # noqa: PLR2004
            raise InputInvalid(f"{wave!r} is no wave: give a number (`10`) or a part (`25%`).")
    for unit in (False, True):
        same = [wave for wave in parsed if wave.endswith("%") is unit]
        for before, wave in pairwise(same):
            if float(wave.rstrip("%")) < float(before.rstrip("%")):
                raise InputInvalid(
                    f"{before} through, then {wave}: waves grow. Say how many are through after "
                    f"each: {', '.join(DEFAULT)} for example.",
                    field="waves",
                )
    return parsed


def sizes(waves: Sequence[str], total: int) -> list[int]:
    """How many databases each wave has; none has none, so there may be fewer than asked for."""
    ends = [0]
    for wave in waves:
        part, percent = wave.removesuffix("%"), wave.endswith("%")
        end = ceil(total * float(part) / 100) if percent else int(part)
        ends.append(min(max(end, ends[-1]), total))
    ends.append(total)
    return [end - start for start, end in pairwise(ends) if end > start]


def spread(groups: Iterable[Sequence[Item]]) -> list[Item]:
    """All items of all groups, so that neighbours are of different groups where that can be."""
    missing = object()
    turns = zip_longest(*groups, fillvalue=missing)
    return [item for turn in turns for item in turn if item is not missing]  # type: ignore[misc]
