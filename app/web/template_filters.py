"""Template filters: how values are displayed."""

import re
import secrets
from datetime import UTC, datetime
from math import ceil
from typing import Any

from flask import Flask, g
from markupsafe import Markup

from app.fleet.addresses.paths import data_folder
from app.models import Stage
from app.settings import RELEASE
from app.web import event_sentences
from headway.types import NEXT_STEPS, Position

LOOKS = {
    **dict.fromkeys(("at_head", "succeeded", "delivered", "alive", "ready"), "good"),
    **dict.fromkeys(("empty", "draft", "pending", "unknown", "cancelled", "undone"), "calm"),
    **dict.fromkeys(("behind", "running", "soaking", "undoing"), "busy"),
    **dict.fromkeys(("waiting", "paused", "unstamped", "ahead", "lost"), "warn"),
    **dict.fromkeys(
        ("torn", "diverged", "foreign", "unreachable", "failed", "halted", "broken"), "bad"
    ),
}
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d[\d:.]*(\+00:00|Z)")
CODE = re.compile("`([^`]+)`")
WORDS = {None: "none", True: "yes", False: "no"}
UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def init_app(app: Flask) -> None:
    """Register the filters and globals of the templates."""
    app.add_template_filter(about)
    app.add_template_filter(ago)
    app.add_template_filter(badge)
    app.add_template_filter(when)
    app.add_template_filter(stage_word)
    app.add_template_filter(stage_predicate)
    app.add_template_filter(coded)
    app.add_template_filter(lasted)
    app.add_template_filter(number)
    app.add_template_filter(event_details)
    app.add_template_filter(event_sentences.did)
    app.add_template_filter(event_sentences.changes, "event_changes")
    app.context_processor(lambda: {"once": lambda: secrets.token_hex(16)})
    app.add_template_global(data_folder)
    app.context_processor(lambda: {"release": RELEASE, "actor": g.get("actor")})


def ago(moment: datetime | None) -> Markup | str:
    """A time as "2 minutes ago", with the exact time on hover; "never" for None."""
    if moment is None:
        return "never"
    exact = moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    seconds = int((datetime.now(UTC) - moment).total_seconds())
    words = "just now" if seconds >= 0 else f"in {-seconds} s"
    for size, unit in UNITS:
        if abs(seconds) >= size > 1:
            # A time in the future is rounded, so that "in 10 minutes" does not begin with 9.
            count = abs(seconds) // size if seconds > 0 else round(abs(seconds) / size)
            words = f"{count} {unit}{'s' if count > 1 else ''}"
            words = f"{words} ago" if seconds > 0 else f"in {words}"
            break
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        moment.isoformat(), exact, words
    )


def when(moment: datetime | None) -> Markup | str:
    """A time both ways: "2 minutes ago (2026-02-28 12:00 UTC)"; "never" for None."""
    if moment is None:
        return "never"
    return Markup("{} ({:%Y-%m-%d %H:%M} UTC)").format(ago(moment), moment.astimezone(UTC))


def about(seconds: float) -> str:
    """A remaining time as "3 s" or "5 min"."""
    return f"{ceil(seconds)} s" if seconds < 120 else lasted(seconds)  # noqa: PLR2004


def lasted(seconds: float | None) -> str:
    """A duration as "1.2 s", "3 min" or "2.5 h"; "" for None."""
    if seconds is None:
        return ""
    if seconds < 120:  # noqa: PLR2004
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"  # noqa: PLR2004


def badge(word: str | None) -> Markup:
    """A position, stage or state as a coloured badge; for a position, the next step on hover."""
    name = word or "unknown"
    help_ = NEXT_STEPS[Position(name)].replace("`", "") if name in list(Position) else ""
    return Markup('<span class="badge {}" title="{}">{}</span>').format(
        LOOKS.get(name, "calm"), help_, name.replace("_", " ")
    )


def stage_word(stage: str) -> str:
    """The stage of a rollout as people read it."""
    return Stage(stage).word


def stage_predicate(stage: str) -> str:
    """The same as it follows "it is"."""
    return Stage(stage).predicate


def coded(text: object) -> Markup:
    """A message as HTML, with text in backticks as code."""
    parts = CODE.split(str(text))  # every second one was quoted
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if n % 2 else part for n, part in enumerate(parts)
    )


def number(value: int) -> str:
    """A number with separators, as "1,400"."""
    return f"{value:,}"


def event_details(detail: dict[str, Any]) -> str:
    """The details of an audit event as text: `role: viewer → admin`. Empty values are left out."""

    def one(value: Any) -> str:
        if isinstance(value, list) and len(value) == 2:  # noqa: PLR2004  # before, after
            return f"{one(value[0])} → {one(value[1])}"
        if isinstance(value, list):
            return ", ".join(map(one, value))
        if isinstance(value, dict):
            return ", ".join(f"{name}={one(inner)}" for name, inner in value.items())
        if isinstance(value, str) and MOMENT.fullmatch(value):
            return value[:16].replace("T", " ") + " UTC"
        return WORDS[value] if value is None or isinstance(value, bool) else str(value)

    shown = {name: value for name, value in detail.items() if value not in (None, "", [], {})}
    return ", ".join(f"{name.replace('_', ' ')}: {one(value)}" for name, value in shown.items())
