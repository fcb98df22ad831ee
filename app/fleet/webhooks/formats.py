"""The formats of messages: our own JSON, or what Slack and Microsoft Teams show to people."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

TEST = "webhook.test"
LONGEST = 500
"""The most characters of one line: escaped, it stays below the 3000 that Slack takes."""


class MessageFormat(StrEnum):
    """The formats of messages that webhooks can receive."""

    JSON = "json"  # the event and its data, for programs
    SLACK = "slack"
    TEAMS = "teams"


@dataclass(frozen=True, kw_only=True)
class Notice:
    """An event in words. Names in it are of other people: every format escapes them."""

    heading: str
    lines: tuple[str, ...]
    """The first one is the most important."""
    link: str | None = None
    link_text: str = ""


def body_of(message_format: str, envelope: dict[str, Any]) -> dict[str, Any]:
    """The JSON to send for an event: `envelope` has its `id`, `event`, `at` and `data`."""
    if message_format == MessageFormat.JSON:
        return envelope
    notice = _notice(envelope["event"], envelope["data"])
    return BODIES[MessageFormat(message_format)](notice)


def _notice(event: str, data: Mapping[str, Any]) -> Notice:
    if event == TEST:
        return Notice(heading="Headway", lines=("This is a test. Events will arrive here.",))
    if event == "drift.found":
        return _drift(data)
    return _rollout(data)


def _rollout(data: Mapping[str, Any]) -> Notice:
    what = data["title"] or f"{data['kind']} to {data['target']}".removesuffix(" to ")
    says, undo, first = data["says"], data["undo"], data["first_error"]
    lines = [says, f"{_counted(data['counts'], 'done')}."]
    if undo:
        lines.append(f"{_counted(undo, 'undone')}.")
    if first:
        lines.append(_first_error(first, says))
    return Notice(
        heading=f"{data['project_name']}: {what}",
        lines=tuple(lines),
        link=data["link"],
        link_text=f"Open rollout {data['rollout']}",
    )


def _counted(counts: Mapping[str, int], done: str) -> str:
    parts = [f"{counts['done']:,} of {counts['total']:,} {done}"]
    parts += [
        f"{counts[state]:,} {state}"
        for state in ("failed", "running", "pending", "cancelled", "lost")
        if counts[state] or state in ("failed", "pending")
    ]
    return ", ".join(parts)


def _first_error(first: Mapping[str, Any], says: str) -> str:
    at = f" at {first['before']}" if first["before"] else ""
    aim = f", to {first['aim']}" if first["aim"] else ""
    text = first["error"]
    why = "." if not text or text in says else f": {text}"
    return f"First error: {first['database']}{at}{aim}{why}"


def _drift(data: Mapping[str, Any]) -> Notice:
    database, count = data["database"]["name"], data["differences"]
    differences = f"{count:,} difference{'' if count == 1 else 's'}"
    return Notice(
        heading=f"{data['project']['name']}: drift found",
        lines=(
            f"The schema of {database} differs from its revision: {differences}.",
            f"New: {'; '.join(data['new'])}",
        ),
    )


def _clipped(text: str) -> str:
    """One line of a bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def _slack(notice: Notice) -> dict[str, Any]:
    heading, *lines = (_slack_text(text) for text in (notice.heading, *notice.lines))
    shown = [f"*{heading}*", *lines]
    if notice.link:
        shown.append(f"<{_slack_text(notice.link)}|{notice.link_text}>")
    return {
        "text": f"{heading}: {lines[0]}",
        # Verbatim: Slack makes no links and no mentions of what is in a name.
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}
            for text in shown
        ],
    }


def _slack_text(text: str) -> str:
    """Escaped: links, mentions of people and of channels all begin with `<`."""
    return _clipped(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _teams(notice: Notice) -> dict[str, Any]:
    heading, *lines = map(_clipped, (notice.heading, *notice.lines))
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.2",
        "fallbackText": f"{heading}: {lines[0]}",
        "msteams": {"width": "Full"},
        "body": [_teams_text(heading, weight="Bolder"), *map(_teams_text, lines)],
    }
    if notice.link:
        open_it = {"type": "Action.OpenUrl", "title": notice.link_text, "url": notice.link}
        card["actions"] = [open_it]
    content_type = "application/vnd.microsoft.card.adaptive"
    attachment = {"contentType": content_type, "contentUrl": None, "content": card}
    return {"type": "message", "attachments": [attachment]}


def _teams_text(text: str, **more: str) -> dict[str, Any]:
    """A TextRun shows all characters as they are; a TextBlock would read Markdown, with links."""
    return {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text, **more}]}


BODIES: dict[MessageFormat, Callable[[Notice], dict[str, Any]]] = {
    MessageFormat.SLACK: _slack,
    MessageFormat.TEAMS: _teams,
}
