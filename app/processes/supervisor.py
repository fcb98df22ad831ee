"""The supervisor of embedded workers: start them beside a web server, restart and stop them.

It is one child process of the gunicorn master, so that gunicorn does not see the ends of its
workers. When the master ends in any way, the workers finish their current database and end too;
when this process is killed, they notice it themselves. It uses only the standard library, so that
it is small and little can fail.

    python -m app.processes.supervisor 4
"""

import argparse
import json
import os
import platform
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import FrameType

LOGGER = "app.processes.supervisor"
WORKER = (sys.executable, "-m", "app.processes.worker")
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
LOOK_SECONDS = 0.1
SETTLED_SECONDS = 10.0
"""A worker that lived this long did not fail at its start."""
PAUSES = (0.2, 1.0, 3.0, 10.0, 30.0)
"""The pause before the next start, by the number of failed starts."""
LIVED_SECONDS = 1.0
"""A supervisor that lived shorter is not restarted, because it would fail for ever."""


class Workers:
    """The supervisor process, as the web server sees it."""

    def __init__(self, count: int, *, patience: float, after: int = 0) -> None:
        """Start it with `count` workers, once the process `after` has ended.

        It ends at the latest when this process ends.
        """
        self.patience = patience
        self.stop_sent_at = 0.0
        self.owner = os.getpid()
        self.command = [sys.executable, "-m", "app.processes.supervisor", str(count)]
        self.command += ["--parent", str(self.owner), "--after", str(after)]
        self._start()

    def _start(self) -> None:
        self.began = time.monotonic()
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL)  # noqa: S603

    def revive(self) -> None:
        """Restart it if it was killed. A signal handler may call this."""
        if self.stop_sent_at or os.getpid() != self.owner or self.process.poll() is None:
            return
        if time.monotonic() - self.began > LIVED_SECONDS:
            say("warning", f"the workers' supervisor {_ended(self.process.returncode)}: another")
            self._start()

    def stop(self) -> None:
        """Signal it to end with its workers. A signal handler may call this."""
        if os.getpid() == self.owner:  # and not a fork that has the handler still
            self.stop_sent_at = self.stop_sent_at or time.monotonic()
            self.process.terminate()

    def renew(self) -> None:
        """Let each worker finish its current database and end; new ones replace them."""
        self.process.send_signal(signal.SIGHUP)

    def wait(self) -> None:
        """Wait until all have ended, but at most `patience` seconds after `stop`."""
        self.stop()
        try:
            self.process.wait(max(self.stop_sent_at + self.patience - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            say("warning", "workers are still migrating; they end after their current database")


@dataclass
class Slot:
    """A place for one worker, and its process now."""

    number: int
    process: "subprocess.Popen[bytes] | None" = None
    name: str = ""
    began: float = 0.0
    due: float = 0.0
    failed: int = 0
    """The number of consecutive workers that ended within SETTLED_SECONDS."""

    def rest(self, now: float) -> float:
        """Seconds to wait before the next worker in this place; the last one has ended."""
        self.failed = 0 if now - self.began > SETTLED_SECONDS else self.failed + 1
        pause = PAUSES[min(self.failed, len(PAUSES) - 1)]
        self.due = now + pause
        return pause


@dataclass
class Supervisor:
    """Keeps its slots filled until it is stopped or its parent has ended."""

    slots: Sequence[Slot]
    parent: int = 0
    after: int = 0
    command: Sequence[str] = WORKER
    stopping: bool = False
    key: str = field(default_factory=lambda: f"{os.getpid()}-{secrets.token_hex(2)}")
    lives: int = 0

    def run(self) -> None:
        """Supervise; returns when no worker is left."""
        for number in STOPS:
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._renew)
        while not self.stopping and _is_there(self.after):
            self._look()
        while not self.stopping:
            for slot in self.slots:
                self._tend(slot)
            self._look()
        self._tell(signal.SIGTERM)
        for slot in self.slots:
            if slot.process:
                slot.process.wait()

    def _look(self) -> None:
        time.sleep(LOOK_SECONDS)
        if self.parent and os.getppid() != self.parent:
            say("warning", "the server has ended: the workers finish their databases and end")
            self.stopping = True

    def _tend(self, slot: Slot) -> None:
        now = time.monotonic()
        if slot.process and (code := slot.process.poll()) is not None:
            slot.process = None
            pause = slot.rest(now)
            say(
                "warning" if code else "info",
                f"worker {slot.name} {_ended(code)}; the next in {pause:g} s",
            )
        if slot.process is None and now >= slot.due:
            self._start(slot, now)

    def _start(self, slot: Slot, now: float) -> None:
        before, self.lives = slot.name, self.lives + 1
        slot.name = f"{platform.node()[:80] or 'localhost'}-{self.key}-{self.lives}"
        slot.began = now
        command = [*self.command, "--parent", str(os.getpid()), "--name", slot.name]
        if before:
            command += ["--replaces", before]
        slot.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping = True

    def _renew(self, _number: int, _frame: FrameType | None) -> None:
        """Let each worker finish its current database and end; a new one replaces it."""
        self._tell(signal.SIGTERM)

    def _tell(self, number: int) -> None:
        for slot in self.slots:
            if slot.process and slot.process.poll() is None:
                slot.process.send_signal(number)


def say(level: str, words: str) -> None:
    """Write a line to the log, as text or JSON as the settings say."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if os.environ.get("HEADWAY_LOG_FORMAT", "").strip().lower() == "json":
        line = {
            "event": words,
            "level": level,
            "logger": LOGGER,
            "timestamp": now,
        }
        text = json.dumps(line)
    else:
        text = f"{now} [{level:<8}] {words} [{LOGGER}]"
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _is_there(pid: int) -> bool:
    if not pid:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _ended(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Supervise until stopped."""
    parser = argparse.ArgumentParser(prog="python -m app.processes.supervisor", description=__doc__)
    parser.add_argument("count", type=int, help="How many workers.")
    parser.add_argument("--parent", type=int, default=0, help="End when this process does.")
    parser.add_argument("--after", type=int, default=0, help="Begin when this process has ended.")
    given = parser.parse_args(arguments)
    slots = [Slot(number) for number in range(given.count)]
    Supervisor(slots, parent=given.parent, after=given.after).run()


if __name__ == "__main__":
    main()
