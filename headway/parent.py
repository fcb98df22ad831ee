"""End this process when its parent ends."""

import os
import threading
import time
from collections.abc import Callable


def when_orphaned(parent: int, act: Callable[[], object]) -> None:
    """In a thread: call `act` once this process has another parent."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        act()

    threading.Thread(target=watch, name="when-orphaned", daemon=True).start()
