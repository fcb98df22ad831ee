"""How many requests of each long kind a web process answers at once.

A request that waits (for another server, a worker, a client or a hash) holds a thread. The
places add up to fewer than the threads of a web process, so that others are always answered.
"""

import threading
from collections import Counter
from collections.abc import Hashable
from contextlib import ExitStack

from app.errors import ServerBusy, TooManyStreams
from headway.errors import HeadwayError


class Places:
    """A number of places, of which one caller gets at most `each`."""

    def __init__(
        self,
        most: int,
        words: str,
        *,
        each: int | None = None,
        error: type[HeadwayError] = ServerBusy,
    ) -> None:
        self.most, self.each = most, each or most
        self.words, self.error = words, error
        self._taken: Counter[Hashable] = Counter()
        self._lock = threading.Lock()

    def take(self, caller: Hashable = None) -> ExitStack:
        """Take a place; closing the result frees it. Raises the error if there is none."""
        with self._lock:
            if self._taken.total() >= self.most or self._taken[caller] >= self.each:
                raise self.error(f"{self.words} Try again in a few seconds.")
            self._taken[caller] += 1
        place = ExitStack()
        place.callback(self._free, caller)
        return place

    def _free(self, caller: Hashable) -> None:
        with self._lock:
            self._taken -= Counter((caller,))


REACHING = Places(1, "Another request is waiting for a server or for files.")
WAITING = Places(1, "Another request is waiting for a worker.")
HASHING = Places(3, "Other passwords are being checked.")
PROVIDER = Places(2, "Others are signing in with the provider.")
FOLLOWING = Places(4, "Too many streams are open.", each=2, error=TooManyStreams)
EXPORTING = Places(1, "Another export is running.", error=TooManyStreams)
ALL = (REACHING, WAITING, HASHING, PROVIDER, FOLLOWING, EXPORTING)
