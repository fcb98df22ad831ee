"""What an audit event says, as a sentence: who did what."""

from collections.abc import Mapping
from typing import Any

from app.models import Event

DID = {
    "account.password_removed": "removed the password of {it}",
    "account.password_set": "set the password of {it}",
    "account.provider_forgotten": "unlinked {it} from its provider",
    "account.provider_tied": "linked {it} to a provider",
    "account.sign_in_refused": "was refused a sign-in to {it}",
    "databases.changed": "changed {databases} databases",
    "databases.registered": "registered {databases} databases in {it}",
    "project.broken": "could not read the scripts of {it}",
    "project.grant_given": "gave {name} the role {role} in project {id}",
    "project.grant_taken": "took the role from {name} in project {id}",
    "project.loaded": "read the scripts of {it}",
    "project.refresh_asked": "asked for a refresh of {it}",
    "rollout.approved": "approved {approved} of {it}",
    "rollout.rehearsed": "started a rehearsal of {it}",
    "rollout.resumed": "resumed {it}{skipping}",
    "rollout.retried": "retried the failed databases of {it}",
    "rollout.undone": "asked to undo {it}",
    "secrets.rotated": "encrypted the secrets with another key",
    "token.signed_in": "signed in",
}
"""Action -> what the actor did. Any other is `started rollout 3`, from `rollout.started`."""
SAID = {"name", "title", "wave", "skipped"}
"""Details that the sentence tells."""


def did(event: Event) -> str:
    """What the actor did, to follow their name: `approved wave 1 of rollout 2`."""
    detail, kind = dict(event.detail or {}), event.subject_type
    name = detail.get("name") or detail.get("title")
    it = " ".join(str(one) for one in (kind, event.subject_id) if one)
    if name and event.action != f"{kind}.changed":
        it += f" ({name})"
    sentence = DID.get(event.action)
    if sentence is None:
        return f"{event.action.rpartition('.')[2].replace('_', ' ')} {it}"
    values = _Values(detail, it=it, id=event.subject_id)
    values["approved"] = f"wave {detail['wave']}" if detail.get("wave") else "the beginning"
    values["skipping"] = f", skipping {detail['skipped']} failed" if detail.get("skipped") else ""
    if isinstance(role := detail.get("role"), list):
        values["role"] = role[-1]
    return sentence.format_map(values)


def changes(event: Event) -> dict[str, Any]:
    """The details that the sentence does not tell; of what changed, before and after."""
    told = SAID if event.action != f"{event.subject_type}.changed" else ()
    return {name: value for name, value in (event.detail or {}).items() if name not in told}


class _Values(dict[str, Any]):
    """The details of an event; what an older release did not keep is not known."""

    def __init__(self, detail: Mapping[str, Any], **more: Any) -> None:
        super().__init__({**detail, **more})

    def __missing__(self, key: str) -> str:
        return f"an unknown {key}"
