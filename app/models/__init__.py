"""What the catalog remembers. Importing this package registers every table."""

from app.models.accounts import Account, Role
from app.models.events import Event
from app.models.idempotency import IdempotencyKey
from app.models.tokens import Token

__all__ = ["Account", "Event", "IdempotencyKey", "Role", "Token"]
