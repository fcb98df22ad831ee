"""A rollout watched: bars on a terminal, plain lines elsewhere, JSON lines for programs."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self

import click
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.text import Text
from sqlalchemy.exc import OperationalError

from app.fleet import workers
from app.fleet.core.permissions import Actor
from app.fleet.rollouts import progress as fleet
from app.fleet.rollouts import watch as rollouts_watch
from app.models import Approval, Stage
from headway.cli.output import Exit

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 60.0
"""How long the catalog may be away: the rollout goes on without us."""
QUIET_SECONDS = 10.0
"""Elsewhere than on a terminal, a line says so often how far it is."""
INTERRUPTED = 130
"""What a shell says of a program that was ended by Ctrl-C."""
STATES = ("running", "failed", "lost", "cancelled")


class Screen(Protocol):
    """Where it is shown."""

    def show(self, told: fleet.Progress) -> None:
        """Show how far it is now."""

    def warn(self, words: str) -> None:
        """Say something once."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None, /
    ) -> None: ...


def watch(actor: Actor, rollout_id: int, *, as_json: bool = False) -> Exit:
    """Show how far a rollout is until nothing more happens by itself; what to tell the shell."""
    with _screen(rollout_id, as_json=as_json) as screen, _leaving(rollout_id):
        told = _watched(actor, rollout_id, screen)
    if not as_json:
        click.echo(_end(rollout_id, told))
    return verdict(told)


def wait(actor: Actor, rollout_id: int) -> None:
    """Come back when nothing more happens to a rollout by itself; nothing of it is shown."""
    with _leaving(rollout_id):
        _watched(actor, rollout_id, Silent())


def verdict(told: fleet.Progress) -> Exit:
    """What a rollout that has settled means to the shell."""
    failed = sum(wave.failed for wave in told.waves)
    if told.stage == Stage.SUCCEEDED:
        return Exit.PARTLY if failed else Exit.OK
    if told.stage == Stage.PENDING and told.rehearsal:
        return Exit.FAILED if told.rehearsal.failed else Exit.OK
    return Exit.OK if told.stage == Stage.UNDONE else Exit.FAILED


def line(told: fleet.Progress) -> str:
    """How far it is, in a line."""
    said = [told.stage]
    if told.undo:
        said.append(f"{told.undo.succeeded:,} of {told.undo.size:,} taken back")
    elif told.waves:
        said.append(f"wave {told.wave} of {len(told.waves)}")
        said.append(f"{told.done:,} of {told.total:,} done")
    elif told.rehearsal:
        said.append(f"{told.rehearsal.done:,} of {told.rehearsal.total:,} rehearsed")
    said += [f"{count:,} {state}" for state, count in _counts(told).items()]
    if told.per_second and _goes_on(told):
        said.append(f"{told.per_second:,.1f}/s")
    if told.seconds_left is not None and told.stage == Stage.RUNNING:
        said.append(f"{duration(told.seconds_left)} left")
    return ", ".join(said)


def _goes_on(told: fleet.Progress) -> bool:
    if told.stage == Stage.PENDING:
        return told.rehearsal is not None and told.rehearsal.done < told.rehearsal.total
    return told.stage in (Stage.RUNNING, Stage.UNDOING)


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3.5 h`."""
    if seconds < 90:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"  # noqa: PLR2004


def plain(value: Any) -> Any:
    """Progress as JSON can hold it, the same as the API's. Waves are counted from 1."""
    if isinstance(value, Approval):
        names = ("account_id", "account_name", "at")
        return {"wave": value.wave + 1} | {name: plain(getattr(value, name)) for name in names}
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [plain(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else value


# --- the loop ------------------------------------------------------------------------------------


def _watched(actor: Actor, rollout_id: int, screen: Screen) -> fleet.Progress:
    warned, heard = False, time.monotonic()
    while True:
        try:
            seen = rollouts_watch.look(actor, rollout_id)
            nobody = not seen.settled and not warned and workers.count_alive() == 0
        except OperationalError:  # the catalog is restarted, say
            if time.monotonic() - heard > PATIENCE_SECONDS:
                raise
            time.sleep(POLL_SECONDS)
            continue
        heard = time.monotonic()
        screen.show(seen.progress)
        if seen.settled:
            return seen.progress
        if nobody:
            screen.warn("No worker is alive, so nothing goes on: `flask workers run` starts some.")
            warned = True
        time.sleep(POLL_SECONDS)


@contextmanager
def _leaving(rollout_id: int) -> Iterator[None]:
    """Ctrl-C ends the watching, and nothing else."""
    try:
        yield
    except KeyboardInterrupt as error:
        click.echo(
            f"Rollout {rollout_id} goes on. `flask rollouts watch {rollout_id}` shows it again, "
            f"`flask rollouts pause {rollout_id}` holds it.",
            err=True,
        )
        raise SystemExit(INTERRUPTED) from error


def _end(rollout_id: int, told: fleet.Progress) -> str:
    if told.stage == Stage.PENDING and not told.rehearsal:
        return f"Rollout {rollout_id} has not started: `flask rollouts start {rollout_id}`."
    said = [f"Rollout {rollout_id}: {line(told)}."]
    first = told.rehearsal.first_error if told.rehearsal and not told.waves else told.first_error
    if told.reason:
        said.append(told.reason)
    elif first:
        said.append(f"First {first.database}: {first.error}")
    if told.rehearsal and told.rehearsal.seconds_ahead is not None:
        ahead = max(1.0, told.rehearsal.seconds_ahead)
        said.append(f"At this pace the rollout takes about {duration(ahead)}.")
    if told.stage == Stage.HALTED:
        ended = all(wave.pending + wave.running + wave.lost == 0 for wave in told.waves)
        verb = "retry" if ended and told.undo and told.undo.failed else "resume"
        said.append(f"When it is mended: `flask rollouts {verb} {rollout_id}`.")
    if told.stage == Stage.PAUSED:
        said.append(f"`flask rollouts resume {rollout_id}` goes on.")
    return "\n".join(said)


def _counts(told: fleet.Progress) -> dict[str, int]:
    parts = [told.undo] if told.undo else list(told.waves)
    totals = {state: sum(getattr(part, state) for part in parts) for state in STATES}
    if not parts and told.rehearsal:
        totals["failed"] = told.rehearsal.failed
    return {state: count for state, count in totals.items() if count}


# --- where it is shown ---------------------------------------------------------------------------


def _screen(rollout_id: int, *, as_json: bool) -> Screen:
    if as_json:
        return JsonLines(rollout_id)
    console = Console()
    return Bars(console) if console.is_terminal else Lines(rollout_id)


class Silent:
    """Only what a person who waits in vain has to know."""

    def show(self, told: fleet.Progress) -> None:
        pass

    def warn(self, words: str) -> None:
        click.echo(words, err=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class JsonLines(Silent):
    """A line of JSON for each change, with the rollout's id: a script may want to resume it."""

    def __init__(self, rollout_id: int) -> None:
        self.rollout_id = rollout_id
        self.last = ""

    def show(self, told: fleet.Progress) -> None:
        text = json.dumps({"id": self.rollout_id} | plain(told))
        if text != self.last:
            click.echo(text)
            self.last = text


class Lines(JsonLines):
    """A line when something happens that a person wants to know, and now and then."""

    def __init__(self, rollout_id: int) -> None:
        super().__init__(rollout_id)
        self.said_at = 0.0
        self.known: object = None

    def show(self, told: fleet.Progress) -> None:
        news = (told.stage, told.wave, told.reason, _counts(told).get("failed"))
        late = time.monotonic() - self.said_at >= QUIET_SECONDS
        text = line(told) + (f". {told.reason}" if told.reason else "")
        if text != self.last and (news != self.known or late):
            click.echo(f"{datetime.now().astimezone():%H:%M:%S} {text}")
            self.last, self.known, self.said_at = text, news, time.monotonic()


class Bars:
    """A bar for each wave, and a line below."""

    def __init__(self, console: Console) -> None:
        self.bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[counts]}", markup=False),
            console=console,
        )
        self.tasks: dict[str, TaskID] = {}
        self.words = Text()
        self.live = Live(console=console, refresh_per_second=4)

    def show(self, told: fleet.Progress) -> None:
        for wave in told.waves:
            self._bar(f"wave {wave.number}", wave)
        if told.undo:
            self._bar("taken back", told.undo)
        if told.rehearsal and not told.waves:
            size, done = told.rehearsal.total, told.rehearsal.done
            self._draw("rehearsal", size, done, f"{told.rehearsal.failed} failed")
        text = Text(line(told))
        if told.reason:
            text.append(f"\n{told.reason}", style="yellow")
        elif told.first_error:
            first = told.first_error
            text.append(f"\nFirst {first.database}: {first.error}", style="red")
        self.live.update(Group(self.bars, text, self.words))

    def warn(self, words: str) -> None:
        self.words = Text(words, style="yellow")

    def __enter__(self) -> Self:
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def _bar(self, name: str, wave: fleet.Wave) -> None:
        done = wave.succeeded + wave.failed + wave.cancelled
        counts = {state: getattr(wave, state) for state in STATES}
        words = ", ".join(f"{count:,} {state}" for state, count in counts.items() if count)
        self._draw(name, wave.size, done, words)

    def _draw(self, name: str, size: int, done: int, counts: str) -> None:
        if name not in self.tasks:
            self.tasks[name] = self.bars.add_task(name, total=size, counts=counts)
        self.bars.update(self.tasks[name], total=size, completed=done, counts=counts)
