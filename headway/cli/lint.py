"""`headway lint`: what a reviewer of new revisions wants to know, for a person and for CI."""

import subprocess
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from headway import checks
from headway.checks import Finding
from headway.cli.options import on_database, span_of_revision
from headway.cli.output import counted, echo, print_json
from headway.database import Database
from headway.errors import PreviewImpossible
from headway.exit_codes import Exit
from headway.plan.operations import record_operations
from headway.plan.risks import notes, squawk
from headway.plan.sql import render
from headway.scripts.script import Revision

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


@click.command()
@on_database
@click.option(
    "--since",
    metavar="REV",
    help="Check only what is newer than a revision or a git commit (origin/main).",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "github", "sarif"]),
    default="text",
    show_default=True,
    help="Text for people, annotations of a pull request, or SARIF for code scanning.",
)
def lint(database: Database, since: str | None, form: str) -> None:
    """Check new revisions before they are merged. Exit with 3 on an error.

    One head; no revision that was edited after `--since`; each new one upgrades an empty database
    and one with rows, its downgrade leads back, and the models are what all of them make. Risks
    are warnings. Everything runs in temporary databases, of the kind that the URL names.
    """
    new = _new_revisions(database, since)
    found = [*new.findings, *_edited(database), *checks.check_scripts(database.project)]
    sql, risks = _sql_and_risks(database, new.revisions)
    found += risks
    names = {one.id for one in new.revisions}
    if names:
        with checks.empty_database(database) as place:
            steps = checks.check_steps(place, only=names, with_rows=True)
        found += steps
        if not any(one.is_error for one in found):
            found += _models(database)
    _show(form, found, sql, count=len(names))
    if any(one.is_error for one in found):
        raise click.exceptions.Exit(Exit.FOUND)


def _models(database: Database) -> tuple[Finding, ...]:
    with checks.empty_database(database) as place:
        place.upgrade()
        return checks.check_models(place)


# --- what is new --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _New:
    """The revisions to check, and what is wrong with the older ones."""

    revisions: tuple[Revision, ...]
    findings: tuple[Finding, ...] = ()


def _new_revisions(database: Database, since: str | None) -> _New:
    project = database.project
    if since is None:
        return _New(project.revisions)
    known = [one for one in project.scripts.by_id if one.startswith(since)]
    if len(known) == 1:
        older = project.scripts.ancestors(known)
        return _New(tuple(one for one in project.revisions if one.id not in older))
    if known:
        raise click.UsageError(
            f"--since {since} matches several revisions: {', '.join(sorted(known))}."
        )
    return _since_commit(project.revisions, project.folder, since)


def _since_commit(revisions: Collection[Revision], folder: Path, commit: str) -> _New:
    """What was added after the common ancestor with a commit; what was there must be as it was."""
    base = None if commit.startswith("-") else _git(folder, "merge-base", commit, "HEAD")
    if base is None:
        raise click.UsageError(
            f"--since {commit} is no revision of {folder} and no commit that git finds there. A "
            "shallow clone lacks the commit: fetch the whole history."
        )
    new, edited = [], []
    for one in revisions:
        path = Path(one.path)
        before = _git(path.parent, "rev-parse", "--verify", "-q", f"{base}:./{path.name}")
        if before is None:
            new.append(one)
        elif before != _git(path.parent, "hash-object", path.name):
            edited.append(one)
    findings = [
        Finding(
            rule="edited-revision",
            message=f"it was edited: databases that have it keep what it was at {commit}. Write a "
            "new revision instead",
            revision=one.id,
            path=one.path,
        )
        for one in edited
    ]
    findings += _deleted(folder, base, {Path(one.path).name for one in revisions}, commit)
    return _New(tuple(new), tuple(findings))


def _deleted(folder: Path, base: str, names: set[str], commit: str) -> Iterator[Finding]:
    listed = _git(folder, "diff", "--name-only", "--diff-filter=D", "--no-renames", base, "--", ".")
    for file in (listed or "").splitlines():
        if file.endswith(".py") and Path(file).name not in names:
            message = f"{file} is at {commit} and was deleted or renamed: databases may be at it"
            yield Finding(rule="deleted-revision", message=message, path=file)


def _git(folder: Path, *words: str) -> str | None:
    """What git answers; None if it fails, or there is none."""
    try:
        done = subprocess.run(  # noqa: S603  # the words are ours, and a name that is no option
            ["git", *words],  # noqa: S607
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _edited(database: Database) -> Iterator[Finding]:
    """Revisions that the database's history has with another checksum, if it keeps one."""
    paths = {one.id: one.path for one in database.project.revisions}
    for name in database.status().edited:
        message = f"it was edited after it was applied to {database.address}"
        yield Finding(rule="edited-revision", message=message, revision=name, path=paths.get(name))


# --- what it does -------------------------------------------------------------------------------


def _sql_and_risks(database: Database, revisions: Iterable[Revision]) -> tuple[str, list[Finding]]:
    """The SQL of the revisions, and its risks as warnings; those that fail are errors."""
    texts, found = [], []
    for one in revisions:
        span = span_of_revision(database, one)
        risks = notes(record_operations(span), database.address.dialect.name)
        try:
            text = render(span)
        except PreviewImpossible as error:
            text = f"-- {one.id}: {error}\n"
        else:
            if database.address.dialect.name == "postgresql":
                risks += squawk(text)
        texts.append(text)
        found += [
            Finding(
                rule=risk.kind,
                message=risk.says,
                revision=one.id,
                path=one.path,
                is_error=risk.fails,
            )
            for risk in risks
        ]
    return "\n".join(texts), found


# --- output -------------------------------------------------------------------------------------


def _show(form: str, found: list[Finding], sql: str, *, count: int) -> None:
    if form == "sarif":
        print_json(_sarif(found))
        return
    if form == "github":
        for one in found:
            level = "error" if one.is_error else "warning"
            place = f"file={_escaped(_relative(one.path))}," if one.path else ""
            title = f"{place}title=headway {one.rule}"
            echo(f"::{level} {title}::{_escaped(str(one), property_=False)}")
        return
    click.echo(sql, nl=False)
    for one in found:
        echo(f"{'error' if one.is_error else 'warning'} [{one.rule}] {one}")
    errors = sum(one.is_error for one in found)
    echo(
        f"{counted(count, 'new revision')}: {counted(errors, 'error')}, "
        f"{counted(len(found) - errors, 'warning')}."
    )


def _relative(path: str | None) -> str:
    """A path as CI names it: from the working directory, if it lies there."""
    found = Path(path or ".")
    here = Path.cwd()
    return (found.relative_to(here) if found.is_relative_to(here) else found).as_posix()


def _escaped(text: str, *, property_: bool = True) -> str:
    """Text as GitHub's workflow commands take it."""
    for mark, code in (("%", "%25"), ("\r", "%0D"), ("\n", "%0A")):
        text = text.replace(mark, code)
    return text.replace(":", "%3A").replace(",", "%2C") if property_ else text


def _sarif(found: list[Finding]) -> dict[str, object]:
    rules = [{"id": rule} for rule in dict.fromkeys(one.rule for one in found)]
    results = [
        {
            "ruleId": one.rule,
            "level": "error" if one.is_error else "warning",
            "message": {"text": str(one)},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": _relative(one.path)},
                        "region": {"startLine": 1},
                    }
                }
            ],
        }
        for one in found
    ]
    run = {"tool": {"driver": {"name": "headway", "rules": rules}}, "results": results}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
