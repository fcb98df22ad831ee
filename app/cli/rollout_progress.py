"""Watch a rollout: bars on a terminal, plain lines elsewhere, JSON lines for programs."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self

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
from headway.cli.output import echo
from headway.error_text import visible
from headway.exit_codes import Exit

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 60.0
"""How long the catalog may be unreachable before watching ends; the rollout continues."""
QUIET_SECONDS = 10.0
"""Without a terminal: the pause between two lines while it goes on."""
STILL_SECONDS = 60.0
"""The same if nothing changes at all: a sign of life."""
INTERRUPTED = 130
"""The exit code of a program that Ctrl-C ended."""
STATES = ("running", "failed", "lost", "cancelled")


class Screen(Protocol):
    """A way to show progress."""

    def show(self, progress: fleet.RolloutProgress) -> None:
        """Show the present progress."""

    def warn(self, words: str) -> None:
        """Show a warning."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None, /
    ) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Until:
    """When watching ends, beside the end of what is watched."""

    wait_approval: bool = False
    """Go on while it waits for an approval."""
    seconds: float | None = None
    """At the latest after this time."""

    def is_over(self, seen: rollouts_watch.WatchedRollout) -> bool:
        """True if it settled, or waits for somebody who is not waited for."""
        waits = seen.progress.stage == Stage.WAITING and not self.wait_approval
        return seen.settled or waits


def watch(actor: Actor, rollout_id: int, until: Until = Until(), *, as_json: bool = False) -> Exit:
    """Show the progress of a rollout until nothing more happens. Returns the exit code."""
    with _screen(rollout_id, as_json=as_json) as screen, _leaving(rollout_id):
        progress = _watched(actor, rollout_id, screen, until)
    if not as_json:
        echo(_end(rollout_id, progress))
    return exit_code_of(progress)


def wait(actor: Actor, rollout_id: int) -> None:
    """Return when nothing more happens to a rollout. Only warnings are shown."""
    with _leaving(rollout_id):
        _watched(actor, rollout_id, Silent(), Until(wait_approval=True))


def exit_code_of(progress: fleet.RolloutProgress) -> Exit:
    """The exit code for a rollout that is no longer watched."""
    failed = sum(wave.failed for wave in progress.waves)
    if progress.stage == Stage.SUCCEEDED:
        return Exit.PARTLY if failed else Exit.OK
    if progress.stage == Stage.PENDING and progress.rehearsal:
        return Exit.FAILED if progress.rehearsal.failed else Exit.OK
    if progress.stage == Stage.WAITING:
        return Exit.WAITING
    if _goes_on(progress) or progress.stage == Stage.SOAKING:  # it was watched for long enough
        return Exit.TRY_AGAIN
    return Exit.OK if progress.stage == Stage.UNDONE else Exit.FAILED


def line(progress: fleet.RolloutProgress) -> str:
    """The progress in one line."""
    parts = [progress.stage]
    if progress.undo:
        parts.append(f"{progress.undo.succeeded:,} of {progress.undo.size:,} undone")
    elif progress.waves:
        parts.append(f"wave {progress.wave} of {len(progress.waves)}")
        parts.append(f"{progress.done:,} of {progress.total:,} done")
    elif progress.rehearsal:
        parts.append(f"{progress.rehearsal.done:,} of {progress.rehearsal.total:,} rehearsed")
    parts += [f"{count:,} {state}" for state, count in _counts(progress).items()]
    if progress.per_second and _goes_on(progress):
        parts.append(f"{progress.per_second:,.1f}/s")
    if progress.seconds_left is not None and progress.stage == Stage.RUNNING:
        parts.append(f"{duration(progress.seconds_left)} left")
    return ", ".join(parts)


def _goes_on(progress: fleet.RolloutProgress) -> bool:
    if progress.stage == Stage.PENDING:
        return progress.rehearsal is not None and progress.rehearsal.done < progress.rehearsal.total
    return progress.stage in (Stage.RUNNING, Stage.UNDOING)


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3.5 h`."""
    if seconds < 90:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"  # noqa: PLR2004


def json_of(value: Any) -> Any:
    """Dataclasses as JSON values, as the API shows them. Waves are counted from 1."""
    if isinstance(value, Approval):
        names = ("account_id", "account_name", "at")
        return {"wave": value.wave + 1} | {name: json_of(getattr(value, name)) for name in names}
    if is_dataclass(value):
        return {field.name: json_of(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [json_of(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else value


# --- the loop ------------------------------------------------------------------------------------


def _watched(actor: Actor, rollout_id: int, screen: Screen, until: Until) -> fleet.RolloutProgress:
    warned, began = False, time.monotonic()
    last_answer_at = began
    while True:
        try:
            seen = rollouts_watch.look(actor, rollout_id)
            no_worker = not seen.settled and not warned and workers.count_alive() == 0
        except OperationalError:  # the catalog is restarted, say
            if time.monotonic() - last_answer_at > PATIENCE_SECONDS:
                raise
            time.sleep(POLL_SECONDS)
            continue
        last_answer_at = time.monotonic()
        screen.show(seen.progress)
        is_late = until.seconds is not None and last_answer_at - began >= until.seconds
        if until.is_over(seen) or is_late:
            return seen.progress
        if no_worker:
            screen.warn("No worker is running. Start one with `flask workers run`.")
            warned = True
        time.sleep(POLL_SECONDS)


@contextmanager
def _leaving(rollout_id: int) -> Iterator[None]:
    """Ctrl-C ends only the watching."""
    try:
        yield
    except KeyboardInterrupt as error:
        echo(
            f"Rollout {rollout_id} continues. `flask rollouts watch {rollout_id}` shows it again, "
            f"`flask rollouts pause {rollout_id}` pauses it.",
            err=True,
        )
        raise SystemExit(INTERRUPTED) from error


def _end(rollout_id: int, progress: fleet.RolloutProgress) -> str:
    if progress.stage == Stage.PENDING and not progress.rehearsal:
        return (
            f"Rollout {rollout_id} has not started. `flask rollouts start {rollout_id}` starts it."
        )
    parts = [f"Rollout {rollout_id}: {line(progress)}."]
    first = (
        progress.rehearsal.first_error
        if progress.rehearsal and not progress.waves
        else progress.first_error
    )
    parts += _why(progress.reason, first)
    if progress.rehearsal and progress.rehearsal.seconds_ahead is not None:
        ahead = max(1.0, progress.rehearsal.seconds_ahead)
        parts.append(f"At this speed the rollout takes about {duration(ahead)}.")
    if progress.stage == Stage.HALTED:
        ended = all(wave.pending + wave.running + wave.lost == 0 for wave in progress.waves)
        verb = "retry" if ended and progress.undo and progress.undo.failed else "resume"
        parts.append(f"When the cause is fixed: `flask rollouts {verb} {rollout_id}`.")
    if progress.stage == Stage.FAILED:
        parts.append(f"When the cause is fixed: `flask rollouts retry {rollout_id}`.")
    if progress.stage == Stage.WAITING:
        parts.append(
            "Approve it in the browser, or by the API with a token of another account; "
            f"`flask rollouts watch {rollout_id} --wait-approval` goes on watching."
        )
    if progress.stage == Stage.PAUSED:
        parts.append(f"`flask rollouts resume {rollout_id}` continues it.")
    return "\n".join(parts)


def _why(reason: str | None, first: fleet.FirstFailure | None) -> list[str]:
    """The reason, which is for everybody, and the first error as it may be read here."""
    lines = [reason] if reason else []
    if first and str(first.error) not in (reason or ""):
        lines.append(f"{'' if reason else 'First failure: '}{first.database}: {first.error}")
    return lines


def _counts(progress: fleet.RolloutProgress) -> dict[str, int]:
    parts = [progress.undo] if progress.undo else list(progress.waves)
    totals = {state: sum(getattr(part, state) for part in parts) for state in STATES}
    if not parts and progress.rehearsal:
        totals["failed"] = progress.rehearsal.failed
    return {state: count for state, count in totals.items() if count}


# --- where it is shown ---------------------------------------------------------------------------


def _screen(rollout_id: int, *, as_json: bool) -> Screen:
    if as_json:
        return JsonLines(rollout_id)
    console = Console()
    return Bars(console) if console.is_terminal else Lines(rollout_id)


class Silent:
    """Only warnings."""

    def show(self, progress: fleet.RolloutProgress) -> None:
        pass

    def warn(self, words: str) -> None:
        echo(words, err=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class JsonLines(Silent):
    """A line of JSON for each change, with the id of the rollout."""

    def __init__(self, rollout_id: int) -> None:
        self.rollout_id = rollout_id
        self.last = ""

    def show(self, progress: fleet.RolloutProgress) -> None:
        text = json.dumps({"id": self.rollout_id} | json_of(progress))
        if text != self.last:
            echo(text)
            self.last = text


class Lines(JsonLines):
    """A line for each important change, and at least every QUIET_SECONDS."""

    def __init__(self, rollout_id: int) -> None:
        super().__init__(rollout_id)
        self.printed_at = 0.0
        self.known: object = None

    def show(self, progress: fleet.RolloutProgress) -> None:
        news = (progress.stage, progress.wave, progress.reason, _counts(progress).get("failed"))
        late = time.monotonic() - self.printed_at >= QUIET_SECONDS
        text = line(progress) + (f". {progress.reason}" if progress.reason else "")
        still = time.monotonic() - self.printed_at >= STILL_SECONDS
        if still or (text != self.last and (news != self.known or late)):
            echo(f"{datetime.now().astimezone():%H:%M:%S} {text}")
            self.last, self.known, self.printed_at = text, news, time.monotonic()


class Bars:
    """A bar for each wave, and a line of text."""

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

    def show(self, progress: fleet.RolloutProgress) -> None:
        for wave in progress.waves:
            self._bar(f"wave {wave.number}", wave)
        if progress.undo:
            self._bar("undone", progress.undo)
        if progress.rehearsal and not progress.waves:
            size, done = progress.rehearsal.total, progress.rehearsal.done
            self._draw("rehearsal", size, done, f"{progress.rehearsal.failed} failed")
        text = Text(f"{datetime.now().astimezone():%H:%M:%S} {visible(line(progress))}")
        for words in _why(progress.reason, progress.first_error):
            text.append(visible(f"\n{words}"), style="yellow")
        self.live.update(Group(self.bars, text, self.words))

    def warn(self, words: str) -> None:
        self.words = Text(visible(words), style="yellow")

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
