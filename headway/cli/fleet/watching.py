"""Watch a rollout: bars on a terminal, plain lines elsewhere, JSON lines for programs."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self

import click
from rich import progress as rich_progress
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from headway.cli.fleet.fleets import Fleet
from headway.cli.fleet.sections import stage_word
from headway.cli.output import echo
from headway.error_text import visible
from headway.exit_codes import Exit

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 60.0
"""How long what is asked may be unreachable before watching ends; the rollout continues."""
QUIET_SECONDS = 10.0
"""Without a terminal: the pause between two lines while it goes on."""
STILL_SECONDS = 60.0
"""The same if nothing changes at all: a sign of life."""
INTERRUPTED = 130
"""The exit code of a program that Ctrl-C ended."""
STATES = ("running", "failed", "lost", "cancelled")
LEFT = ("pending", "running", "lost")


Progress = Mapping[str, Any]
"""The progress of a rollout, as `GET /api/v1/rollouts/{id}/progress` answers it."""


class Screen(Protocol):
    """A way to show progress."""

    def show(self, progress: Progress) -> None:
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

    def is_over(self, progress: Progress) -> bool:
        """True if it settled, or waits for somebody who is not waited for."""
        waits = progress["waits_for_approval"] and not self.wait_approval
        return progress["settled"] or waits


def watch(fleet: Fleet, rollout_id: int, until: Until = Until(), *, as_json: bool = False) -> Exit:
    """Show the progress of a rollout until nothing more happens. Returns the exit code."""
    with _screen(rollout_id, as_json=as_json) as screen, _leaving(fleet, rollout_id):
        progress = _watched(fleet, rollout_id, screen, until)
    if not as_json:
        echo(_end(fleet, rollout_id, progress))
    return exit_code_of(progress)


def wait(fleet: Fleet, rollout_id: int) -> Progress:
    """The progress of a rollout when nothing more happens. Only warnings are shown."""
    with _leaving(fleet, rollout_id):
        return _watched(fleet, rollout_id, Silent(), Until(wait_approval=True))


def exit_code_of(progress: Progress) -> Exit:
    """The exit code for a rollout that is no longer watched."""
    stage, rehearsal = progress["stage"], progress["rehearsal"]
    if stage == "succeeded":
        return Exit.PARTLY if any(wave["failed"] for wave in progress["waves"]) else Exit.OK
    if stage == "pending" and rehearsal:
        return Exit.FAILED if rehearsal["failed"] else Exit.OK
    if progress["waits_for_approval"]:
        return Exit.WAITING
    if _goes_on(progress) or stage in ("soaking", "waiting"):  # it was watched for long enough
        return Exit.TRY_AGAIN
    return Exit.OK if stage == "undone" else Exit.FAILED


def line(progress: Progress) -> str:
    """The progress in one line."""
    parts, undo, rehearsal = (
        [stage_word(progress["stage"])],
        progress["undo"],
        progress["rehearsal"],
    )
    if undo:
        parts.append(f"{undo['succeeded']:,} of {undo['size']:,} undone")
    elif progress["waves"]:
        parts.append(f"wave {progress['wave']} of {len(progress['waves'])}")
        parts.append(f"{progress['done']:,} of {progress['total']:,} done")
    elif rehearsal:
        parts.append(f"{rehearsal['done']:,} of {rehearsal['total']:,} rehearsed")
    parts += [f"{count:,} {state}" for state, count in _counts(progress).items()]
    if differing := progress.get("differing"):
        parts.append(f"{differing:,} with drift")
    if progress["per_second"] and _goes_on(progress):
        parts.append(f"{progress['per_second']:,.1f}/s")
    if progress["seconds_left"] is not None and progress["stage"] == "running":
        parts.append(f"{duration(progress['seconds_left'])} left")
    return ", ".join(parts)


def _goes_on(progress: Progress) -> bool:
    if progress["stage"] == "pending":
        rehearsal = progress["rehearsal"]
        return rehearsal is not None and rehearsal["done"] < rehearsal["total"]
    return progress["stage"] in ("running", "undoing")


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3.5 h`."""
    if seconds < 90:  # noqa: PLR2004
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"  # noqa: PLR2004


# --- the loop ------------------------------------------------------------------------------------


def _watched(fleet: Fleet, rollout_id: int, screen: Screen, until: Until) -> Progress:
    warned, began = False, time.monotonic()
    last_answer_at = began
    while True:
        try:
            progress: Progress = fleet.progress(rollout_id)
            no_worker = not progress["settled"] and not warned and fleet.count_workers() == 0
        except fleet.unreachable:  # it is restarted, say
            if time.monotonic() - last_answer_at > PATIENCE_SECONDS:
                raise
            time.sleep(POLL_SECONDS)
            continue
        last_answer_at = time.monotonic()
        screen.show(progress)
        is_late = until.seconds is not None and last_answer_at - began >= until.seconds
        if until.is_over(progress) or is_late:
            return progress
        if no_worker:
            screen.warn("No worker is running. Start one with `flask workers run`.")
            warned = True
        time.sleep(POLL_SECONDS)


@contextmanager
def _leaving(fleet: Fleet, rollout_id: int) -> Iterator[None]:
    """Ctrl-C ends only the watching."""
    try:
        yield
    except KeyboardInterrupt as error:
        echo(
            f"Rollout {rollout_id} continues. {_command(fleet, 'watch', rollout_id)} shows it "
            f"again, {_command(fleet, 'pause', rollout_id)} pauses it.",
            err=True,
        )
        raise click.exceptions.Exit(INTERRUPTED) from error


def _end(fleet: Fleet, rollout_id: int, progress: Progress) -> str:
    stage, undo, rehearsal = progress["stage"], progress["undo"], progress["rehearsal"]
    if stage == "pending" and not rehearsal:
        start = _command(fleet, "start", rollout_id)
        return f"Rollout {rollout_id} has not started. {start} starts it."
    parts = [f"Rollout {rollout_id}: {line(progress)}."]
    first = rehearsal if rehearsal and not progress["waves"] else progress
    parts += _why(progress["reason"], first["first_error"])
    if rehearsal and rehearsal["seconds_ahead"] is not None:
        ahead = max(1.0, rehearsal["seconds_ahead"])
        parts.append(f"At this speed the rollout takes about {duration(ahead)}.")
    if stage in ("halted", "failed") and first["first_error"]:
        run_id = first["first_error"]["run_id"]
        parts.append(f"Its log, and what is in the way: `{fleet.program} runs show {run_id}`.")
    if stage == "halted":
        left = sum(wave[state] for wave in progress["waves"] for state in LEFT)
        verb = "retry" if not left and undo and undo["failed"] else "resume"
        parts.append(f"When the cause is fixed: {_command(fleet, verb, rollout_id)}.")
    if stage == "failed":
        parts.append(f"When the cause is fixed: {_command(fleet, 'retry', rollout_id)}.")
    if progress["waits_for_approval"]:
        parts.append(
            "Approve it in the browser, or with the token of another account: `headway fleet "
            f"rollouts approve {rollout_id}`. "
            f"{_command(fleet, 'watch', rollout_id, ' --wait-approval')} goes on watching."
        )
    if stage == "paused":
        parts.append(f"{_command(fleet, 'resume', rollout_id)} continues it.")
    return "\n".join(parts)


def _command(fleet: Fleet, verb: str, rollout_id: int, options: str = "") -> str:
    """A command for a rollout, as a person types it."""
    return f"`{fleet.program} rollouts {verb} {rollout_id}{options}`"


def _why(reason: str | None, first: Mapping[str, Any] | None) -> list[str]:
    """The reason, which is for everybody, and the first error as it may be read here."""
    lines = [reason] if reason else []
    # What a comparison found is added a moment later, in a line of its own: `runs show` has it.
    error = str(first["error"]).partition("\n")[0] if first else ""
    if first and error not in (reason or ""):
        lines.append(f"{'' if reason else 'First failure: '}{first['database']}: {error}")
    return lines


def _counts(progress: Progress) -> dict[str, int]:
    parts = [progress["undo"]] if progress["undo"] else progress["waves"]
    totals = {state: sum(part[state] for part in parts) for state in STATES}
    if not parts and progress["rehearsal"]:
        totals["failed"] = progress["rehearsal"]["failed"]
    return {state: count for state, count in totals.items() if count}


# --- where it is shown ---------------------------------------------------------------------------


def _screen(rollout_id: int, *, as_json: bool) -> Screen:
    if as_json:
        return JsonLines(rollout_id)
    console = Console()
    return Bars(console) if console.is_terminal else Lines(rollout_id)


class Silent:
    """Only warnings."""

    def show(self, progress: Progress) -> None:
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

    def show(self, progress: Progress) -> None:
        text = json.dumps({"id": self.rollout_id, **progress})
        if text != self.last:
            echo(text)
            self.last = text


class Lines(JsonLines):
    """A line for each important change, and at least every QUIET_SECONDS."""

    def __init__(self, rollout_id: int) -> None:
        super().__init__(rollout_id)
        self.printed_at = 0.0
        self.known: object = None

    def show(self, progress: Progress) -> None:
        names = ("stage", "wave", "reason")
        news = (*(progress[name] for name in names), _counts(progress).get("failed"))
        late = time.monotonic() - self.printed_at >= QUIET_SECONDS
        text = line(progress) + (f". {progress['reason']}" if progress["reason"] else "")
        still = time.monotonic() - self.printed_at >= STILL_SECONDS
        if still or (text != self.last and (news != self.known or late)):
            echo(f"{datetime.now().astimezone():%H:%M:%S} {text}")
            self.last, self.known, self.printed_at = text, news, time.monotonic()


class Bars:
    """A bar for each wave, and a line of text."""

    def __init__(self, console: Console) -> None:
        self.bars = rich_progress.Progress(
            rich_progress.TextColumn("{task.description}", markup=False),
            rich_progress.BarColumn(),
            rich_progress.MofNCompleteColumn(),
            rich_progress.TextColumn("{task.fields[counts]}", markup=False),
            console=console,
        )
        self.tasks: dict[str, rich_progress.TaskID] = {}
        self.words = Text()
        self.live = Live(console=console, refresh_per_second=4)

    def show(self, progress: Progress) -> None:
        rehearsal = progress["rehearsal"]
        for wave in progress["waves"]:
            self._bar(f"wave {wave['number']}", wave)
        if progress["undo"]:
            self._bar("undone", progress["undo"])
        if rehearsal and not progress["waves"]:
            failed = f"{rehearsal['failed']} failed"
            self._draw("rehearsal", rehearsal["total"], rehearsal["done"], failed)
        text = Text(f"{datetime.now().astimezone():%H:%M:%S} {visible(line(progress))}")
        for words in _why(progress["reason"], progress["first_error"]):
            text.append(visible(f"\n{words}"), style="yellow")
        self.live.update(Group(self.bars, text, self.words))

    def warn(self, words: str) -> None:
        self.words = Text(visible(words), style="yellow")

    def __enter__(self) -> Self:
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def _bar(self, name: str, wave: Mapping[str, Any]) -> None:
        done = wave["succeeded"] + wave["failed"] + wave["cancelled"]
        words = ", ".join(f"{wave[state]:,} {state}" for state in STATES if wave[state])
        self._draw(name, wave["size"], done, words)

    def _draw(self, name: str, size: int, done: int, counts: str) -> None:
        if name not in self.tasks:
            self.tasks[name] = self.bars.add_task(name, total=size, counts=counts)
        self.bars.update(self.tasks[name], total=size, completed=done, counts=counts)
