"""The keys that secrets are encrypted with."""

from collections.abc import Sequence
from contextlib import suppress

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from app.errors import EncryptionKeyMissing, SecretUnreadable
from app.settings_reader import A_KEY


class Vault:
    """Encrypts with the first key and decrypts with any, so that keys can be rotated."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._first = Fernet(keys[0]) if keys else None
        self._keys = MultiFernet([Fernet(key) for key in keys]) if keys else None

    def encrypt(self, text: str) -> str:
        """The text under the first key. Raises EncryptionKeyMissing."""
        return self._ours().encrypt(text.encode()).decode()

    def decrypt(self, text: str) -> str:
        """The text again. Raises EncryptionKeyMissing, or SecretUnreadable under another key."""
        try:
            return self._ours().decrypt(text.encode()).decode()
        except InvalidToken:
            raise SecretUnreadable from None

    def renew(self, text: str) -> str | None:
        """Encrypt a secret again with the first key; None if it has that key already.

        Raises EncryptionKeyMissing, or SecretUnreadable if no key decrypts it.
        """
        keys = self._ours()
        with suppress(InvalidToken):
            if self._first and self._first.decrypt(text.encode()):
                return None
        try:
            return keys.rotate(text.encode()).decode()
        except InvalidToken:
            raise SecretUnreadable from None

    def _ours(self) -> MultiFernet:
        if self._keys is None:
            raise EncryptionKeyMissing(
                f"HEADWAY_ENCRYPTION_KEYS is not set, so secrets cannot be stored or read. {A_KEY} "
                "Every replica and worker needs the same one."
            )
        return self._keys
