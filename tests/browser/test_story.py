"""The whole story at a browser, against a real server with its workers: with a script and without."""

from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, expect
from sqlalchemy.engine import URL

from app.fleet import workers
from app.fleet.accounts import tokens
from app.models import Role
from headway import Project as Scripts
from tests.browser.people import Person
from tests.fleet.conftest import person
from tests.fleet.fleets import ME, ROOT, Fleet
from tests.fleet.sites import Site, answers

COUNT = 12
BROKEN = 7
SOON = 30_000


@pytest.fixture(scope="module")
def origin(site: Site) -> str:
    """A server with two workers, and a dozen files nobody has told it of."""
    workers.stop(ME)
    _, port = site.serve(2)
    site.until(lambda: answers(port))
    return f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("script", [True, False], ids=["with-a-script", "without"])
def test_from_signing_in_to_signing_out(
    people: Callable[..., Person], site: Site, origin: str, script: bool
) -> None:
    name = "with" if script else "without"
    files = [site.fleet.file(f"{name}-{number:02}") for number in range(COUNT)]
    execute(files[BROKEN], "CREATE TABLE t2 (x INTEGER)")
    token = operator(name)
    ada = people(origin, java_script_enabled=script)
    ada.sign_in(token)
    register(ada, site.members / f"{name}-*.db")
    preview(ada, name)
    watch(ada, site.fleet, script)
    mend_and_resume(ada, files)
    undo(ada, files)
    ada.sign_out()
    expect(ada.page).to_have_title("Sign in · Headway")
    ada.go("/rollouts/")
    expect(ada.page).to_have_title("Sign in · Headway")
    assert token not in "".join(ada.asked)
    assert token not in site.log.read_text()


def operator(name: str) -> str:
    """Somebody new, by their token."""
    account, _ = person(Role.OPERATOR, name)
    issued, _ = tokens.issue_token(ROOT, account_id=account.id, name="mine", expires_days=1)
    return issued.text or ""


def register(ada: Person, pattern: Path) -> None:
    """All files of a folder; what would be registered is shown first."""
    ada.press("Databases")
    ada.press("Register databases")
    ada.press("Files, by pattern")
    ada.page.get_by_label("Pattern").fill(str(pattern))
    ada.press("Show the databases")
    expect(ada.page.get_by_role("heading", level=1)).to_have_text(f"Register {COUNT} databases?")
    ada.press(f"Register {COUNT} databases")
    mine = ada.page.get_by_role("row").filter(has_text=pattern.name.removesuffix("*.db"))
    expect(mine).to_have_count(COUNT)


def preview(ada: Person, name: str) -> None:
    """A rollout over them: what it would do to whom, before anything is done."""
    until_seen(ada, name)
    ada.press("Rollouts")
    ada.press("New rollout")
    ada.page.get_by_label("Part of the name").fill(f"{name}-")
    ada.page.get_by_label("Waves").fill("1, 25%, 100%")
    ada.page.get_by_label("Title").fill("The third")
    ada.press("Show the preview")
    main = ada.page.get_by_role("main")
    expect(main).to_contain_text(f"{COUNT} databases")
    ada.page.get_by_text("SQL", exact=True).first.click()
    expect(main).to_contain_text("CREATE TABLE t3")


def until_seen(ada: Person, name: str) -> None:
    """Workers look at each of them: the page says where they stand."""
    for _ in range(60):
        ada.go(f"/databases/?search={name}-&position=behind")
        if ada.page.get_by_role("row").count() == COUNT + 1:
            return
        ada.page.wait_for_timeout(250)
    raise AssertionError("nobody has looked at them")


def watch(ada: Person, fleet: Fleet, script: bool) -> None:
    """It goes on before one's eyes, without a key being pressed, until it halts and says why."""
    ada.press("Start")
    ada.page.get_by_role("button", name="Start rollout").click()
    if script:
        ada.page.evaluate("window.wasHere = true")
    main = ada.page.get_by_role("main")
    expect(main.get_by_text("halted").first).to_be_visible(timeout=SOON)
    expect(main).to_contain_text("table t2 already exists")
    expect(main).to_contain_text(f"-{BROKEN:02}")
    expect(main.get_by_text("Started.", exact=True)).to_have_count(0)
    if script:
        assert ada.page.evaluate("window.wasHere"), "it went on without being loaded again"


def mend_and_resume(ada: Person, files: list[Path]) -> None:
    """What was in the way is gone, and it goes on to the end."""
    choices = ada.page.get_by_role("region", name="What you can do")
    expect(choices).to_contain_text("1 failed database is tried again")
    execute(files[BROKEN], "DROP TABLE t2")
    ada.press("Resume")
    ada.page.get_by_label("Try again: the cause is fixed").check()
    ada.page.get_by_role("button", name="Resume rollout").click()
    succeeded(ada.page, "succeeded")
    assert {at(path) for path in files} == {"r003"}


def undo(ada: Person, files: list[Path]) -> None:
    """All back to where they came from."""
    ada.press("Undo")
    expect(ada.page.get_by_role("main")).to_contain_text("r002 drops t2 with all its rows")
    rollout = ada.page.url.split("/")[-2]
    ada.page.get_by_label(f"Type the number of the rollout, {rollout}").fill(rollout)
    ada.page.get_by_role("button", name="Undo rollout").click()
    succeeded(ada.page, "undone")
    assert {at(path) for path in files} == {"r001"}


def succeeded(page: Page, stage: str) -> None:
    expect(page.get_by_role("main").get_by_text(stage, exact=True).first).to_be_visible(
        timeout=SOON
    )


def at(path: Path) -> str:
    return "+".join(Scripts.load(path.parent.parent / "scripts").at(path).status().current)


def execute(path: Path, statement: str) -> None:
    engine = sa.create_engine(URL.create("sqlite", database=str(path)), poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
