"""kill -9 while an example boots, and a revision that fails half-way: the next start mends it.

`python benchmarks/boot_examples.py --kill 20` does it at more moments.
"""

from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from tests.examples.victims import BOOTS, PROGRAMS, SLOW, Victim, wrong_at_head

BROKEN = SLOW.replace("create_index(", "create_index_that_is_none(")


@pytest.mark.parametrize("moment", [0.05, 0.25])
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_next_start_after_a_kill_brings_it_to_head(
    program: str, moment: float, catalog_url: URL, tmp_path: Path
) -> None:
    found = Victim(program, tmp_path).after_kill(catalog_url, moment)
    torn = found == ["repaired"] and catalog_url.get_backend_name() == "mysql"
    assert torn or found == []


@pytest.mark.parametrize("program", BOOTS)
def test_a_revision_that_fails_half_way_leaves_nothing_on_sqlite(
    program: str, sqlite_url: URL, tmp_path: Path
) -> None:
    victim = Victim(program, tmp_path)
    victim.revision.write_text(BROKEN)
    code, last, _ = victim.boot(sqlite_url)
    assert code == 1
    assert "Revision f0003 failed" in last, last
    assert "create_index_that_is_none" in last
    assert sa.inspect(sa.create_engine(sqlite_url)).get_table_names() == []
    victim.revision.write_text(SLOW)
    assert victim.boot(sqlite_url)[0] == 0
    assert wrong_at_head(sqlite_url) == []
