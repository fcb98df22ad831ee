"""End when the parent process does."""

import os
import threading
import time
from collections.abc import Callable


def when_orphaned(parent: int, act: Callable[[], object]) -> None:
    """In a thread: act once this process has another parent than that one."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        act()

    threading.Thread(target=watch, name="when-orphaned", daemon=True).start()
