"""The models of the catalog. Importing this package registers every table."""

from app.models.accounts import Account, Grant, Role
from app.models.boots import Boot
from app.models.databases import SEARCH, Database, Label, LabelCount, PositionCount, Strategy
from app.models.drifts import Difference, Ignored
from app.models.events import Event
from app.models.idempotency import IdempotencyKey
from app.models.ids import DELETABLE
from app.models.projects import Loading, Project
from app.models.revisions import Revision
from app.models.rollouts import DRAFT_LASTS, ENDED_STAGES, Approval, Kind, Rollout, Stage
from app.models.runs import BEGUN, UNENDED, Run, RunSql, RunTally, State
from app.models.tokens import Scope, SignInLimit, Token, TokenKind
from app.models.webhooks import Delivery, Webhook
from app.models.workers import Lease, Worker

__all__ = [
    "BEGUN",
    "DELETABLE",
    "DRAFT_LASTS",
    "ENDED_STAGES",
    "SEARCH",
    "UNENDED",
    "Account",
    "Approval",
    "Boot",
    "Database",
    "Delivery",
    "Difference",
    "Event",
    "Grant",
    "IdempotencyKey",
    "Ignored",
    "Kind",
    "Label",
    "LabelCount",
    "Lease",
    "Loading",
    "PositionCount",
    "Project",
    "Revision",
    "Role",
    "Rollout",
    "Run",
    "RunSql",
    "RunTally",
    "Scope",
    "SignInLimit",
    "Stage",
    "State",
    "Strategy",
    "Token",
    "TokenKind",
    "Webhook",
    "Worker",
]
