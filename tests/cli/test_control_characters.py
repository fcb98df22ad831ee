"""What a database or a script says is shown on a terminal and in a log, and never obeyed."""

import logging
from collections.abc import Callable

import pytest
import rich.console

from app import log_lines
from app.fleet.isolation import child
from headway.cli import output
from headway.errors import DatabaseRefused

HOSTILE = "boom \x1b[31mANSI\x07\x9b2J\r\x00\u202eevil"
NAMES = ("[/b]", "[bold]x[/]", "[link=http://evil.example]x[/link]", HOSTILE)
OBEYED = ("\x1b", "\x07", "\x9b", "\r", "\x00", "\u202e")


def _record(message: str, error: Exception | None = None) -> logging.LogRecord:
    caught = (type(error), error, None) if error else None
    return logging.LogRecord("x", logging.ERROR, "", 0, message, None, caught)


def obeyed(text: str) -> list[str]:
    return [one for one in OBEYED if one in text]


@pytest.mark.parametrize(
    "form", [lambda: log_lines.formatter("text"), lambda: child._Lines("text")]
)
def test_a_line_of_a_log_obeys_nothing(form: Callable[[], logging.Formatter]) -> None:
    line = form().format(_record(HOSTILE, ValueError(HOSTILE)))
    assert obeyed(line) == []
    assert "\\x1b[31mANSI" in line


def test_an_event_makes_one_line() -> None:
    line = log_lines.formatter("text").format(_record("one\n2026-01-01 [info] forged"))
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize("terminal", [False, True])
def test_a_table_shows_names_as_they_are(
    terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "on_terminal", lambda: terminal)
    console = rich.console.Console
    monkeypatch.setattr(rich.console, "Console", lambda: console(color_system=None, width=200))
    output.print_table(("name",), [(name,) for name in NAMES])
    shown = capsys.readouterr().out
    assert obeyed(shown) == []
    for name in NAMES[:-1]:
        assert name in shown


def test_a_message_and_an_error_obey_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    output.echo(HOSTILE)
    output.Refusal(DatabaseRefused(HOSTILE)).show()
    told = capsys.readouterr()
    assert obeyed(told.out + told.err) == []
    assert "ANSI" in told.out
    assert "ANSI" in told.err
