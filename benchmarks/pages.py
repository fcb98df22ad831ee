"""The pages with ten thousand databases: what each costs the server, and one live in a browser.

    python benchmarks/pages.py
    python benchmarks/pages.py --databases 1000 --times 5

That many SQLite files, registered and rolled out by two workers while Chromium looks on: how long
its one thread was kept busy at a time, how often the page was brought up to date, with how much.
One in a hundred files fails. In the middle the rollout is paused on its page, and every page that
links lead to is asked for: the server's time at the median, and its size as it would be sent.
"""

import argparse
import contextlib
import gzip
import logging
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Response
from sqlalchemy.engine import URL

HOME = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HOME))

from app.extensions import db
from app.fleet import databases, workers
from app.fleet.accounts import tokens
from app.fleet.databases import import_sources
from app.fleet.rollouts import progress
from app.models import Role, Rollout, Stage
from tests.browser.people import Person, open_chromium
from tests.fleet.conftest import person
from tests.fleet.fleets import ME, ROOT, Fleet, fleet_on
from tests.fleet.sites import Site, answers
from tests.web import walking
from tests.web.walking import Visitor

TARGET = 100.0
LONG_TASKS = """
window.tasks = []; window.gaps = [];
new PerformanceObserver((seen) => {
  for (const task of seen.getEntries()) window.tasks.push(task.duration);
}).observe({ type: "longtask", buffered: true });
let last = performance.now();
setInterval(() => {
  const now = performance.now();
  window.gaps.push(now - last - 50);
  last = now;
}, 50);
"""
"""Tasks of over 50 ms, and how late a timer is that should come each 50 ms."""


def fill(fleet: Fleet, count: int) -> None:
    """So many files at the first revision, registered; every hundredth will fail."""
    good, bad = fleet.file("good"), fleet.file("bad")
    with contextlib.closing(sqlite3.connect(bad)) as connection:
        connection.execute("CREATE TABLE t2 (x INTEGER)")
    began = time.monotonic()
    data = fleet.folder / "data"
    data.mkdir()
    for number in range(count):
        source = bad if number % 100 == 99 else good
        shutil.copyfile(source, data / f"customer-{number:05}.db")
    rows = import_sources.from_files(str(data / "*.db"), labels=r"customer-(?P<shelf>\d\d)")
    done = databases.register_many(ROOT, fleet.project_id, rows)
    assert done.added == count, done
    say("made and registered", time.monotonic() - began, "s")


def say(what: str, value: float, unit: str, more: str = "") -> None:
    print(f"  {what:<44}{value:10.1f} {unit} {more}", flush=True)


def admin() -> str:
    """The token of somebody who sees all pages."""
    account, _ = person(Role.ADMIN, "benchmark")
    issued, _ = tokens.issue_token(ROOT, account_id=account.id, name="benchmark", expires_days=1)
    return issued.text or ""


def until_seen(fleet: Fleet, site: Site, count: int) -> None:
    """Workers look at each of them."""
    began = time.monotonic()
    site.until(lambda: sum(fleet.counts().values()) - unknown(fleet) >= count, 600)
    say("looked at by two workers", time.monotonic() - began, "s")


def unknown(fleet: Fleet) -> int:
    return sum(many for (position, _), many in fleet.counts().items() if position == "unknown")


def live(site: Site, origin: str, token: str, rollout: Rollout, most: float) -> None:
    """One page while it goes on, from its start until half of it is done; then it is paused."""
    with open_chromium() as browser:
        ada = Person(browser, origin)
        ada.page.add_init_script(LONG_TASKS)
        asked: list[str] = []

        def keep(answer: Response) -> None:
            asked.append(answer.url)

        ada.page.on("response", keep)
        ada.sign_in(token)
        ada.go(f"/rollouts/{rollout.id}/start")
        ada.page.get_by_role("button", name="Start").click()
        ada.page.get_by_role("link", name="Pause").wait_for()
        asked.clear()
        began = time.monotonic()
        while time.monotonic() - began < most and done(rollout) < 0.5:
            ada.page.wait_for_timeout(500)
        seconds = time.monotonic() - began
        found = ada.page.evaluate("({ tasks: window.tasks, gaps: window.gaps })")
        tell_live(found, seconds, sum("part=live" in url for url in asked))
        tell_sizes(Visitor(site.fleet.app, token), rollout)
        say("done by then", 100 * done(rollout), "%")
        pressed = time.monotonic()
        ada.press("Pause")
        ada.page.get_by_role("button", name="Pause").click()
        ada.page.get_by_role("link", name="Resume").wait_for()
        say("paused: two pages and two presses", time.monotonic() - pressed, "s")
        assert not ada.complaints, ada.complaints
    site.until(lambda: site.fleet.stage(rollout) is Stage.PAUSED)


def done(rollout: Rollout) -> float:
    told = progress.progress(ROOT, rollout.id)
    db.session.rollback()
    return told.done / max(told.total, 1)


def tell_live(found: dict[str, Any], seconds: float, times: int) -> None:
    tasks, gaps = found["tasks"], sorted(found["gaps"])
    print("\nThe page of a rollout, live")
    say("watched for", seconds, "s")
    say("brought up to date", times, "times", f"({times / seconds:.2f} a second)")
    say("tasks over 50 ms", len(tasks), "times", f"({sum(tasks) / 10 / seconds:.1f} % of the time)")
    say("the longest task", max(tasks, default=0), "ms")
    say("a timer is late, 99 of 100 times at most", gaps[int(len(gaps) * 0.99)], "ms")


def tell_sizes(visitor: Visitor, rollout: Rollout) -> None:
    """What a browser is sent for it."""
    path = f"/rollouts/{rollout.id}"
    first = (path, "/assets/headway.css", "/assets/headway.js")
    say("all at first load, compressed", sum(size(visitor, one) for one in first) / 1000, "KB")
    say("each time, compressed", size(visitor, f"{path}?part=live") / 1000, "KB")


def size(visitor: Visitor, path: str) -> int:
    return len(gzip.compress(visitor.get(path).data))


def pages(fleet: Fleet, token: str, times: int) -> None:
    """The server's time for each page."""
    logging.disable(logging.WARNING)
    visitor = Visitor(fleet.app, token)
    took: dict[str, list[float]] = {path: [] for path in walking.walk(visitor, of_a_kind=2)}
    sizes: dict[str, int] = {}
    for _ in range(times):
        for path, those in took.items():
            walking.forget()
            db.session.remove()  # as in a process that serves: nothing is known from before
            began = time.perf_counter()
            answer = visitor.client.get(path)
            those.append((time.perf_counter() - began) * 1000)
            sizes[path] = len(gzip.compress(answer.data))
    found = {path: statistics.median(those) for path, those in took.items()}
    print(f"\nEvery page, the median of {times}: {len(found)} pages")
    for path, median in sorted(found.items(), key=lambda one: -one[1]):
        late = "  over the target" if median > TARGET else ""
        print(f"  {path:<60}{median:8.1f} ms {sizes[path] / 1000:8.1f} KB{late}")
    over = sum(median > TARGET for median in found.values())
    middle = statistics.median(found.values())
    print(f"  the median of all {middle:.1f} ms; {over} over {TARGET:.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--databases", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=15, help="questions for each page")
    parser.add_argument("--watch", type=float, default=60, help="seconds at most")
    parser.add_argument("--revisions", type=int, default=30)
    given = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        url = URL.create("sqlite", database=str(folder / "catalog.sqlite"))
        with fleet_on(url, folder, revisions=given.revisions, log_level="error") as fleet:
            workers.stop(ME)
            site = Site(fleet, url, folder)
            try:
                print(f"{given.databases:,} databases, {given.revisions} revisions", flush=True)
                fill(fleet, given.databases)
                _, port = site.serve(2, HEADWAY_LOG_LEVEL="warning")
                site.until(lambda: answers(port))
                token = admin()
                until_seen(fleet, site, given.databases)
                gate = {"failures_percent": 10}
                rollout = fleet.rollout(waves=["1", "5%", "25%", "100%"], gate=gate)
                db.session.rollback()
                live(site, f"http://127.0.0.1:{port}", token, rollout, given.watch)
                pages(fleet, token, given.times)
            finally:
                site.end()


if __name__ == "__main__":
    main()
