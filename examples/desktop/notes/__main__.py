"""The face: what a desktop program does from its menu, here from a command line."""

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from notes import files
from notes.models import Note, Tag


def new(path: Path) -> None:
    """Make a file."""
    files.create(path)
    print(f"Made {path}.")


def add(path: Path, text: str, tags: Sequence[str]) -> None:
    """Add a note."""
    update(path)
    with files.session(path) as session:
        session.add(Note(text=text, tags=[tag_called(session, name) for name in sorted(set(tags))]))
    print("Added.")


def tag_called(session: Session, name: str) -> Tag:
    """The tag of this name, made if there is none."""
    return session.scalar(select(Tag).where(Tag.name == name)) or Tag(name=name)


def show(path: Path, tag: str | None) -> None:
    """Print the notes."""
    update(path)
    with files.session(path) as session:
        for note in notes_in(session, tag):
            print(note.id, note.text, *(f"#{tag.name}" for tag in note.tags))


def notes_in(session: Session, tag: str | None) -> Sequence[Note]:
    """The notes, or those with a tag, in the order they were written in."""
    wanted = select(Note).order_by(Note.id)
    if tag is not None:
        wanted = wanted.where(Note.tags.any(Tag.name == tag))
    return session.scalars(wanted).all()


def export(path: Path, target: Path, tag: str) -> None:
    """Save the notes with a tag to a file of their own. If that fails, there is no such file."""
    update(path)
    files.create(target)
    try:
        with files.session(path) as session, files.session(target) as copy:
            found = notes_in(session, tag)
            for note in found:
                copy.merge(note)  # with its tags
    except BaseException:
        target.unlink()
        raise
    print(f"Saved {len(found)} to {target}.")


def info(path: Path) -> None:
    """Print what a file is, and leave it as it is."""
    look = files.look_at(path)
    print(f"Version {', '.join(look.current)}, and this release's is {', '.join(look.heads)}.")
    print(look.position.replace("_", " ").capitalize() + ".")


def update(path: Path) -> None:
    """Bring a file to this release, and say so if there was anything to do."""
    if done := files.bring_up_to_date(path):
        print(
            f"{path} is of this release now. As it was, it is in {done.snapshot}.", file=sys.stderr
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what was typed; the exit code."""
    given = vars(parser().parse_args(arguments))
    work = given.pop("work")
    try:
        work(**given)
    except files.FileRefused as refused:
        print(refused, file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """What can be typed."""
    parser = argparse.ArgumentParser(prog="notes", description="Notes in a file.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    works = {"new": new, "add": add, "list": show, "export": export, "info": info}
    for name, work in works.items():
        command = commands.add_parser(name, help=work.__doc__)
        command.set_defaults(work=work)
        command.add_argument("path", metavar="FILE", type=Path)
        if name == "add":
            command.add_argument("text", metavar="TEXT")
            command.add_argument("--tag", dest="tags", action="append", default=[])
        if name == "list":
            command.add_argument("--tag")
        if name == "export":
            command.add_argument("target", metavar="NEWFILE", type=Path)
            command.add_argument("--tag", required=True)
    return parser


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # notes hold more than some consoles can show
            stream.reconfigure(errors="backslashreplace")
    sys.exit(main())
