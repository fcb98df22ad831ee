"""Approvals before anything begins: what a project that requires them asks of each rollout.

It is made ready and its databases are reserved; then it waits, and its runs begin when another
account has approved. Waves that wait by their gate are the matter of `advance`.
"""

from sqlalchemy import select

from app.errors import ApprovalRefused, RolloutRefused
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import CatalogSession
from app.fleet.rollouts import announcements
from app.models import Approval, Kind, Project, Rollout, Stage

BEFORE_FIRST_WAVE = -1
"""The `wave` of the approval of a rollout; those of undos follow below it."""


def begin(
    session: CatalogSession, rollout: Rollout, stage: Stage, *, undo_by: Actor | None = None
) -> None:
    """Go on at this stage, or wait for an approval if the project requires one.

    A rollout that has one needs no other for a further attempt; each undo that somebody asks for,
    `undo_by`, needs its own. That of a rollout whose waves needed approvals needs one as well.
    """
    rollout.stage, rollout.reason = stage, None
    if not Kind(rollout.kind).needs_approval:
        return
    if _project_requires(session, rollout):
        whose = "Its project"
    elif undo_by is not None and rollout.gate.get("approval"):
        whose = "This rollout"
    else:
        return
    if undo_by is None and _has_one(given_to(session, rollout), stage):
        return
    rollout.stage, rollout.resumes_as = Stage.WAITING, stage
    asked = (undo_by.id, undo_by.name[:128]) if undo_by else (rollout.by_id, rollout.by_name)
    rollout.asked_by_id, rollout.asked_by_name = asked
    what = "the undo" if stage == Stage.UNDOING else "it"
    rollout.reason = (
        f"{whose} requires approvals: another account than {rollout.asked_by_name} has to "
        f"approve before {what} begins."
    )
    announcements.announce(session, "rollout.waiting", rollout)


def _project_requires(session: CatalogSession, rollout: Rollout) -> bool:
    required = select(Project.requires_approval).where(Project.id == rollout.project_id)
    return bool(session.scalar(required))


def is_before_begin(rollout: Rollout) -> bool:
    """True while it waits before anything begins, and not between two waves."""
    return rollout.stage == Stage.WAITING and rollout.resumes_as is not None


def asked_by(rollout: Rollout) -> tuple[int | None, str]:
    """The account that asked for what waits, which cannot approve it itself: its id and name."""
    if is_before_begin(rollout):
        return rollout.asked_by_id, rollout.asked_by_name or rollout.by_name
    return rollout.by_id, rollout.by_name


def approve(session: CatalogSession, actor: Actor, rollout: Rollout, wave: int | None) -> None:
    """Approve what waits: the next wave, or the beginning, for which `wave` is 0.

    Raises RolloutRefused if something else waits than `wave` says, and ApprovalRefused.
    """
    waits = 0 if is_before_begin(rollout) else rollout.wave + 1
    if wave not in (None, waits):
        now = f"wave {waits}" if waits else "the beginning (0)"
        raise RolloutRefused(
            f"You approve wave {wave}, but {now} waits for approval now. Look at its results, "
            "then approve it.",
            wave=waits,
        )
    _require_another(actor, rollout)
    given = given_to(session, rollout)
    if not waits:
        undoes = rollout.resumes_as == Stage.UNDOING
        number = min([BEFORE_FIRST_WAVE, *given]) - 1 if undoes else BEFORE_FIRST_WAVE
        if number not in given:  # it waited already, and was resumed after a pause
            session.add(_approval(actor, rollout, number))
        rollout.stage, rollout.resumes_as = Stage(rollout.resumes_as or Stage.RUNNING), None
        rollout.asked_by_id = rollout.asked_by_name = rollout.reason = None
    elif rollout.wave not in given:  # else it is approved already
        session.add(_approval(actor, rollout, rollout.wave))


def given_to(session: CatalogSession, rollout: Rollout) -> list[int]:
    """The waves of its approvals."""
    given = select(Approval.wave).where(Approval.rollout_id == rollout.id)
    return list(session.scalars(given))


def _require_another(actor: Actor, rollout: Rollout) -> None:
    asked_by_id, name = asked_by(rollout)
    if actor.id is None:
        raise ApprovalRefused(
            "An approval needs an account: approve on the page of the rollout, or by the API "
            "with a token. The command line has no account."
        )
    if actor.id == asked_by_id:
        did = "asked for this" if is_before_begin(rollout) else "created this rollout"
        raise ApprovalRefused(f"{name} {did}, so another account has to approve it.")


def _approval(actor: Actor, rollout: Rollout, wave: int) -> Approval:
    return Approval(
        rollout_id=rollout.id, wave=wave, account_id=actor.id, account_name=actor.name[:128]
    )


def _has_one(given: list[int], stage: Stage) -> bool:
    if stage == Stage.UNDOING:
        return any(wave < BEFORE_FIRST_WAVE for wave in given)
    return BEFORE_FIRST_WAVE in given
