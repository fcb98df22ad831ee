"""TCP keepalive: notice that a server is unreachable, which drivers do not by themselves."""

import os
import socket
from contextlib import suppress
from typing import Any

from sqlalchemy import URL

IDLE_SECONDS, EVERY_SECONDS, MISSES = 10, 5, 3
UNHEARD_SECONDS = 30
"""How long sent data may stay unacknowledged (TCP_USER_TIMEOUT, Linux)."""
SAYS_SO = ("keepalives", "tcp_user_timeout")


def keep_alive(raw: Any, url: URL) -> None:
    """Set TCP keepalive on the connection's socket, unless the URL sets it.

    A statement may take as long as it needs: a server that works on it still answers the kernel.
    """
    if url.get_backend_name() == "sqlite" or any(n.startswith(SAYS_SO) for n in url.query):
        return
    with suppress(Exception):  # a driver that shows no socket
        handle = raw.fileno() if hasattr(raw, "fileno") else raw._sock.fileno()  # noqa: SLF001
        with socket.socket(fileno=os.dup(handle)) as line:
            if line.family not in (socket.AF_INET, socket.AF_INET6):
                return
            line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in (
                ("TCP_KEEPIDLE", IDLE_SECONDS),
                ("TCP_KEEPINTVL", EVERY_SECONDS),
                ("TCP_KEEPCNT", MISSES),
                ("TCP_USER_TIMEOUT", UNHEARD_SECONDS * 1000),
            ):
                if option := getattr(socket, name, None):
                    line.setsockopt(socket.IPPROTO_TCP, option, value)
