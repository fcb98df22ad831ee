"""Accounts, and how a person or a program signs in as one."""

from app.fleet.accounts.crud import (
    change_account,
    create_account,
    delete_account,
    find_account,
    get_account,
    list_accounts,
)

__all__ = [
    "change_account",
    "create_account",
    "delete_account",
    "find_account",
    "get_account",
    "list_accounts",
]
