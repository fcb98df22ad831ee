"""The whole story at a browser, against a real server with its workers: with a script and without."""

import json
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
from tests.browser.people import PHONE, Person
from tests.fleet.conftest import person
from tests.fleet.fleets import ME, ROOT, Fleet
from tests.fleet.sites import Site, answers
from tests.receiver import receiving

COUNT = 12
BROKEN = 7
SOON = 30_000


@pytest.fixture(scope="module")
def origin(site: Site) -> str:
    """A server with two workers, and a dozen files nobody has told it of."""
    workers.stop(ME)
    _, port = site.serve(2, HEADWAY_WEBHOOK_HOSTS="127.0.0.1")
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
    preview(ada, name, script)
    watch(ada, site.fleet, script)
    mend_and_resume(ada, files)
    undo(ada, files)
    ada.sign_out()
    expect(ada.page).to_have_title("Sign in · Headway")
    ada.go("/rollouts/")
    expect(ada.page).to_have_title("Sign in · Headway")
    assert token not in "".join(ada.asked)
    assert token not in site.log.read_text()


def test_on_duty_at_night_on_a_phone(
    people: Callable[..., Person], site: Site, origin: str
) -> None:
    """Halted; the cause is found, fixed where it is, and the rollout goes on."""
    files = [site.fleet.file(f"night-{number}") for number in range(4)]
    execute(files[2], "CREATE TABLE t2 (x INTEGER)")
    execute(files[2], "INSERT INTO t2 VALUES (1), (2)")
    ids = [site.fleet.register(path.stem, f"sqlite:///{path}").id for path in files]
    rollout = site.fleet.start(selector={"ids": ids}, waves=["1", "100%"], concurrency=1)
    site.until(lambda: site.fleet.stage(rollout) == "halted")
    kim = people(origin, color_scheme="dark", viewport=PHONE, has_touch=True)
    kim.go(f"/rollouts/{rollout.id}")  # the link of the message that woke her
    kim.page.get_by_label("Token", exact=True).fill(operator("kim"))
    kim.press("Sign in with the token")
    page, main = kim.page, kim.page.get_by_role("main")
    expect(main).to_contain_text("1 of 4 failed up to wave 2 of 2 (0 allowed)")
    reason = page.locator("#live-stage .flash").bounding_box()
    assert reason is not None
    assert reason["y"] + reason["height"] < PHONE["height"], "why it halted is below the screen"
    cause = "Compared at once: table t2 is there, and no revision made it (2 rows)."
    expect(main).to_contain_text(cause, timeout=SOON)
    choices = page.get_by_role("region", name="What you can do")
    expect(choices).to_contain_text("Leave it. Nothing runs.")
    expect(choices).to_contain_text("Skip night-2.")
    page.get_by_role("link", name="What this means and what to do").click()
    expect(main).to_contain_text("Usual causes")
    expect(page.get_by_role("navigation").first).to_be_visible()
    page.go_back()
    page.locator("#failed-database").click()
    kim.press("Check")
    page.get_by_role("button", name="Check").click()
    expect(main.get_by_text("succeeded, 1 with drift").first).to_be_visible(timeout=SOON)
    page.goto(f"/databases/{ids[2]}")
    expect(main).to_contain_text("DROP TABLE t2")
    expect(main).to_contain_text(
        "drops table t2 with all its rows: 2 rows when it was last compared"
    )
    execute(files[2], "DROP TABLE t2")
    kim.go(f"/rollouts/{rollout.id}")
    page.get_by_role("link", name="Fix the cause, then resume.").click()
    page.get_by_label("Try again: the cause is fixed").check()
    page.get_by_role("button", name="Resume rollout").click()
    succeeded(page, "succeeded")
    assert {at(path) for path in files} == {"r003"}
    assert kim.sideways() == 0


def test_a_rehearsal_that_failed_is_shown_at_the_start(
    people: Callable[..., Person], site: Site, origin: str
) -> None:
    """And nothing of it was done: the draft is thrown away."""
    files = [site.fleet.file(f"again-{number}") for number in range(3)]
    execute(files[1], "CREATE TABLE t2 (x INTEGER)")
    for path in files:
        site.fleet.register(path.stem, f"sqlite:///{path}")
    ada = people(origin)
    ada.sign_in(operator("rehearser"))
    ada.go("/rollouts/new?search=again-")
    ada.press("Show the preview")
    main = ada.page.get_by_role("main")
    expect(main.get_by_text("draft", exact=True).first).to_be_visible()
    ada.press("Rehearse")
    ada.page.get_by_role("button", name="Rehearse rollout").click()
    expect(main).to_contain_text("1 of 3 would fail. Nothing was changed.", timeout=SOON)
    expect(main).to_contain_text("again-1")
    ada.press("Start")
    expect(main).to_contain_text("In its rehearsal 1 of 3 databases failed.")
    ada.press("Back")
    ada.press("Cancel")
    ada.page.get_by_role("button", name="Cancel rollout").click()
    expect(main).to_contain_text("never started")
    assert {at(path) for path in files} == {"r001"}


def test_a_webhook_is_made_and_its_message_delivered(
    people: Callable[..., Person], site: Site, origin: str
) -> None:
    admin = people(origin)
    admin.sign_in(operator("hook", Role.ADMIN))
    with receiving() as receiver:
        admin.press("Webhooks")
        admin.press("New webhook")
        admin.page.get_by_label("Name", exact=True).fill("on duty")
        admin.page.get_by_label("URL").fill(f"{receiver.url}/hook")
        admin.press("Create the webhook")
        secret = admin.page.get_by_label("The secret").inner_text()
        admin.press("Send a test")
        main = admin.page.get_by_role("main")
        expect(main.get_by_text("delivered", exact=True).first).to_be_visible(timeout=SOON)
        heard = receiver.heard[0]
    assert heard.path == "/hook"
    assert json.loads(heard.body)["event"] == "webhook.test"
    assert secret not in heard.body.decode() + str(heard.headers)


def operator(name: str, role: Role = Role.OPERATOR) -> str:
    """Somebody new, by their token."""
    account, _ = person(role, name)
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


def preview(ada: Person, name: str, script: bool) -> None:
    """A rollout over them: what it would do to whom, before anything is done."""
    until_seen(ada, name)
    ada.press("Rollouts")
    ada.press("New rollout")
    ada.page.get_by_label("Part of the name").fill(f"{name}-")
    ada.page.get_by_role("textbox", name="Waves").fill("1, 25%, 100%")
    ada.page.get_by_label("Title").fill("The third")
    main = ada.page.get_by_role("main")
    if script:  # drawn while it is typed
        expect(main).to_contain_text(f"{COUNT} databases would take part now, in 3 waves.")
        ada.page.get_by_role("textbox", name="Waves").fill("1, most")
        expect(main).to_contain_text("'most' is not a wave")
        ada.page.get_by_role("textbox", name="Waves").fill("1, 25%, 100%")
        expect(main).to_contain_text("in 3 waves")
    ada.press("Show the preview")
    expect(main).to_contain_text("A draft: nothing is started. It expires in 30 days")
    expect(main).to_contain_text(f"{COUNT} databases, in waves of 1, 2, 9.")
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
