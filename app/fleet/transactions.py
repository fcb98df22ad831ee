"""One transaction a use case, and one seam for what the catalog refuses."""

from collections.abc import Iterator
from contextlib import contextmanager

from flask_sqlalchemy.session import Session
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import scoped_session
from sqlalchemy.orm.exc import StaleDataError

from app.errors import AccountChanged, EmailTaken
from app.extensions import db

CatalogSession = scoped_session[Session]


@contextmanager
def writing() -> Iterator[CatalogSession]:
    """A session in a transaction that will write; committed at the end."""
    db.session.rollback()
    # On SQLite the write lock is taken first: who reads and then writes may lose the race.
    db.session.connection(execution_options={"write": True})
    try:
        yield db.session
        db.session.commit()
    except IntegrityError as error:
        db.session.rollback()
        # PostgreSQL and MariaDB name the index, SQLite the column.
        if "uq_account_email" in str(error.orig) or "account.email" in str(error.orig):
            raise EmailTaken from error
        raise
    except StaleDataError as error:
        db.session.rollback()
        raise AccountChanged from error
    except BaseException:
        db.session.rollback()
        raise
