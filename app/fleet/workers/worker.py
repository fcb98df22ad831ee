"""The work of a worker: take runs, do them one after the other, until it is told to end."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from app.fleet.isolation import parent
from app.fleet.runs import claims, execute
from app.fleet.workers import registry
from app.fleet.workers.heartbeat import Pulse
from app.fleet.workers.periodic import CHORES, LOAD, Chore, Doing, give_back, load_due
from app.fleet.workers.watchdog import Watchdog
from headway.errors import HeadwayError

log = logging.getLogger(__name__)

IDLE_SECONDS = 0.25
AWAY_SECONDS = (0.5, 1.0, 2.0, 5.0)
BATCH = 10
BATCH_SECONDS = 1.0
"""How much work one claim may take, by what the last runs took."""
GOODBYES = 3
QUIET_ROUNDS = 3
LOAD_SECONDS = 2.0


class Hand:
    """This process as a worker: it beats, watches the clock, and does its share of the chores."""

    def __init__(
        self,
        app: Flask,
        *,
        engine: str,
        state: Callable[[], str],
        outdated: Callable[[], object],
        name: str | None = None,
        replaces: str | None = None,
        chores: Sequence[Chore] = CHORES,
    ) -> None:
        self.app = app
        self.pulse = Pulse(
            app,
            engine=engine,
            name=name or registry.new_name(),
            replaces=replaces,
            state=state,
            outdated=outdated,
        )
        self.chores = tuple(chores)
        self.waiting: list[int] = []
        """Runs that were taken and not begun."""
        self.busy = False
        self.ended = threading.Event()
        self._ending = threading.RLock()

    def start(self) -> None:
        """Begin to beat. It may take nothing before it is `fresh`."""
        with self.app.app_context():
            parent.start()
        self.pulse.start()
        Watchdog(self.app, self.ended, self.hand_back).start()
        for chore in self.chores:
            Doing(chore, self.pulse, self.ended).start()

    @property
    def name(self) -> str | None:
        """The name to take runs by; None while nothing may be taken."""
        name = self.pulse.worker
        return name if self.pulse.fresh and name == self.pulse.worker else None

    def do(self, run_id: int, name: str) -> bool:
        """Do a run that was taken by this name. False if it is not known how that ended."""
        self.busy = True
        try:
            with self.app.app_context():
                execute.perform(run_id, name)
        except Exception:
            # Whoever looks at the database finds out; under this name nobody would.
            log.exception("run %s was left in the middle", run_id)
            self.pulse.reborn()
            return False
        finally:
            self.busy = False
        self.pulse.done += 1
        return True

    def take(self, name: str, limit: int) -> list[int]:
        """Take up to so many runs. Raises what the catalog does."""
        with self.unsure(), self.app.app_context():
            self.waiting = claims.claim(name, limit)
        return self.waiting

    @contextmanager
    def unsure(self) -> Iterator[None]:
        """If this fails, we may have runs of which we do not know: whoever looks finds out."""
        try:
            yield
        except BaseException:
            self.waiting = []
            self.pulse.reborn()
            raise

    def hand_back(self, name: str) -> None:
        """Let others do what was taken by this name and not begun."""
        if self.waiting:
            claims.hand_back(name, self.waiting)
        self.waiting = []

    def end(self) -> None:
        """Hand back what was not begun, and say that this worker has ended."""
        with self._ending:  # who comes second must not leave while the first still says it
            if not self.ended.is_set():
                self.ended.set()
                self._say_goodbye()

    def _say_goodbye(self) -> None:
        for _ in range(GOODBYES):
            with suppress(HeadwayError, SQLAlchemyError), self.app.app_context():
                self.hand_back(self.pulse.worker)
                give_back(self.chores, self.pulse.worker)
                self.pulse.end()
                return
            time.sleep(0.5)
        log.warning("the catalog could not be told that worker %s has ended", self.pulse.worker)


class Loop:
    """An embedded worker's main thread."""

    def __init__(self, hand: Hand, stop: threading.Event) -> None:
        self.hand, self.stop = hand, stop
        self.average = BATCH_SECONDS
        self.away = 0
        self.load_at = 0.0

    def run(self) -> None:
        """Take runs and do them until told to stop."""
        while not self.stop.is_set():
            pause = IDLE_SECONDS
            try:
                if (name := self.hand.name) and self.round(name):
                    pause = 0.0
                self.away = 0
            except (HeadwayError, SQLAlchemyError) as error:
                if not self.away:
                    log.warning("nothing can be taken: %s", str(error).partition("\n")[0])
                pause = AWAY_SECONDS[min(self.away, len(AWAY_SECONDS) - 1)]
                self.away += 1
            self.stop.wait(pause)

    def round(self, name: str) -> bool:
        """Take some runs and do them; False if there was nothing to do."""
        hand = self.hand
        with hand.app.app_context():
            self._load_due()
        some = bool(hand.take(name, self._size()))
        while hand.waiting and not self.stop.is_set() and hand.name == name:
            began = time.monotonic()
            hand.do(hand.waiting.pop(0), name)
            self.average += (time.monotonic() - began - self.average) * 0.3
        if hand.waiting:
            with hand.unsure(), hand.app.app_context():
                hand.hand_back(name)
        return some

    def _size(self) -> int:
        return max(1, min(BATCH, int(BATCH_SECONDS / max(self.average, 0.01))))

    def _load_due(self) -> None:
        if time.monotonic() < self.load_at:
            return
        with self.hand.pulse.keeping(LOAD) as held:
            if held:
                load_due()
        self.load_at = time.monotonic() + LOAD_SECONDS


def work_once(hand: Hand, stop: threading.Event) -> int:
    """Do what can be done now, chores too, and come back; how many runs that were."""
    loop, quiet = Loop(hand, stop), 0
    while quiet < QUIET_ROUNDS and not stop.is_set():
        if (name := hand.name) is None:
            stop.wait(0.05)
            continue
        with hand.app.app_context():
            for work in (load_due, *(chore.work for chore in CHORES)):
                work()
        quiet = 0 if loop.round(name) else quiet + 1
    return hand.pulse.done
