"""The site of docs/: every page is reached, and no link leads out of it. `make docs` builds it."""

import re
from pathlib import Path

import yaml

HOME = Path(__file__).parents[2]
DOCS = HOME / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
INDEX = DOCS / "problems" / "index.md"
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")


def files_in(part: object) -> list[str]:
    """The files that a part of the navigation names, in order."""
    if isinstance(part, dict):
        part = list(part.values())
    return [part] if isinstance(part, str) else [name for one in part for name in files_in(one)]


def test_every_page_is_reached_once() -> None:
    named = files_in(yaml.safe_load((HOME / "mkdocs.yml").read_text())["nav"])
    reached = [DOCS / name for name in named]
    reached += [INDEX.parent / name for name in LINK.findall(INDEX.read_text()) if "/" not in name]
    assert sorted(reached) == PAGES


def test_the_index_of_problems_has_their_titles() -> None:
    for title, name in re.findall(r"^- \[(.+)\]\((.+)\)$", INDEX.read_text(), re.MULTILINE):
        assert (INDEX.parent / name).read_text().startswith(f"# {title}\n")


def test_links_lead_to_files_of_the_site() -> None:
    for page in PAGES:
        for link in LINK.findall(page.read_text()):
            file = (page.parent / link).resolve()
            assert file.is_file(), f"{page.name}: {link}"
            assert file.is_relative_to(DOCS), f"{page.name}: {link}"


def test_the_glossary_has_every_position() -> None:
    from app.fleet.core.selectors import POSITIONS

    said = re.findall(r"^\| `(\w+)` \|", (DOCS / "glossary.md").read_text(), re.MULTILINE)
    assert sorted(said) == sorted(POSITIONS)
