"""Send a signed message to a URL, with a total timeout and without following redirects."""

import hashlib
import hmac
import json
import secrets
import socket
import ssl
import time
from base64 import b64decode, b64encode
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from threading import Timer
from typing import Any
from urllib.error import URLError
from urllib.parse import unquote, urlsplit
from urllib.request import (
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from app.settings import RELEASE

TIMEOUT = 10.0
"""Seconds within which the headers of the answer have to arrive."""
PREFIX = "whsec_"
OK, REDIRECTS = range(200, 300), range(300, 400)


class TooLate(HTTPException):
    """The total timeout is over; a socket's own timeout restarts with every byte."""


WORDS: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((TimeoutError, TooLate), f"It did not answer within {TIMEOUT:.0f} seconds."),
    ((ssl.SSLError,), "It does not speak TLS as expected."),
    ((socket.gaierror,), "Its host name is not known."),
    ((ConnectionRefusedError,), "The connection was refused: no server listens there."),
    (
        (HTTPException, ConnectionError, ValueError),
        "The connection ended before there was an answer.",
    ),
)
"""Exceptions -> the error message; the first match counts."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message to a webhook. Its id stays the same when it is sent again."""

    id: str
    body: dict[str, Any]

    def payload(self) -> bytes:
        """The bytes that are signed and sent."""
        return json.dumps(self.body, separators=(",", ":")).encode()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The result of sending: a status, or an error. The body of the answer is not kept."""

    status: int | None = None
    error: str | None = None

    @property
    def ok(self) -> bool:
        """True if the receiver accepted the message."""
        return self.error is None


def new_secret() -> str:
    """A new secret, with which the messages of a webhook are signed."""
    return PREFIX + b64encode(secrets.token_bytes(32)).decode()


def signature(secret: str, message_id: str, timestamp: int, payload: bytes) -> str:
    """The value of the header `webhook-signature`. docs/watching.md explains how to check it."""
    key = b64decode(secret.removeprefix(PREFIX))
    signed = f"{message_id}.{timestamp}.".encode() + payload
    return "v1," + b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def send(url: str, secret: str, message: Message) -> Answer:
    """Send a message once. Errors are returned in the Answer, without the URL."""
    try:
        with _opener().open(_request(url, secret, message), timeout=TIMEOUT) as response:
            return _answer_for(response.status)
    except (OSError, HTTPException, ValueError) as error:
        return Answer(error=_why(error))


def _request(url: str, secret: str, message: Message) -> Request:
    payload, timestamp = message.payload(), int(time.time())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"Headway/{RELEASE}",
        "webhook-id": message.id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secret, message.id, timestamp, payload),
    }
    parts = urlsplit(url)
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        headers["Authorization"] = f"Basic {b64encode(pair).decode()}"
        url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return Request(url, data=payload, headers=headers, method="POST")  # noqa: S310  # http(s) only


def _answer_for(status: int) -> Answer:
    if status in OK:
        return Answer(status=status)
    if status in REDIRECTS:
        words = f"It answered {status}. Redirects are not followed: create it with the new URL."
        return Answer(status=status, error=words)
    return Answer(status=status, error=f"It answered {status}.")


def _why(error: Exception) -> str:
    """Our own message: those of the libraries may contain the URL, and so a token."""
    if isinstance(error, URLError) and isinstance(error.reason, Exception):
        error = error.reason
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"Its certificate cannot be trusted: {error.verify_message}."
    for kinds, words in WORDS:
        if isinstance(error, kinds):
            return words
    return f"It cannot be reached: {getattr(error, 'strerror', None) or 'unknown error'}."


# --- a connection that ends in time -------------------------------------------------------------


class _InTime:
    """Ends a connection after TIMEOUT in total, even if bytes still arrive."""

    sock: Any
    _alarm: Timer | None = None
    _rang = False

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self._alarm = Timer(TIMEOUT, self._ring)
        self._alarm.daemon = True
        self._alarm.start()

    def getresponse(self) -> Any:
        try:
            response = super().getresponse()  # type: ignore[misc]
        except (OSError, HTTPException, ValueError) as error:
            raise (TooLate() if self._rang else error) from error
        finally:
            if self._alarm:
                self._alarm.cancel()
        if self._rang:  # a partial answer may look complete
            raise TooLate
        return response

    def _ring(self) -> None:
        self._rang = True
        with suppress(OSError, AttributeError):  # it has ended already
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


class _Http(_InTime, HTTPConnection):
    pass


class _Https(_InTime, HTTPSConnection):
    pass


class _OverHttp(HTTPHandler):
    def http_open(self, req: Request) -> Any:
        return self.do_open(_Http, req)


class _OverHttps(HTTPSHandler):
    def https_open(self, req: Request) -> Any:
        return self.do_open(_Https, req, context=ssl.create_default_context())


def _opener() -> OpenerDirector:
    """An opener for http and https with the proxies of the environment; no redirects, no files."""
    opener = OpenerDirector()
    for handler in (ProxyHandler(), _OverHttp(), _OverHttps()):
        opener.add_handler(handler)
    return opener
