"""A client of a server's API, with the token of an account."""

import http.client
import json
import os
import re
import ssl
import stat
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit

import click

from headway.cli.output import Refusal
from headway.errors import ErrorKind, HeadwayError

SECONDS = 30.0
"""How long the server may be silent."""
TOKEN = re.compile(r"[!-~]{8,200}")
MOST_OF_TOKEN = 4096
PAGE = 200
"""The longest page of the API."""
KINDS = {
    401: ErrorKind.DENIED,
    403: ErrorKind.DENIED,
    404: ErrorKind.NOT_FOUND,
    409: ErrorKind.CONFLICT,
    412: ErrorKind.STALE,
    429: ErrorKind.BUSY,
    500: ErrorKind.INTERNAL,
    502: ErrorKind.FAILED,
    503: ErrorKind.UNREACHABLE,
    504: ErrorKind.UNREACHABLE,
}
THEIRS = re.compile(
    r"`flask (?=(projects (list|show)|databases (list|show|register|create|retire|refresh)"
    r"|rollouts [a-z]+|runs (list|show|start))\b)"
)
"""The beginning of a command of the server's messages that is here too."""
Query = str | int | bool | None


class RequestRefused(Refusal):
    """The server refuses a request; the message is its own."""

    def __init__(self, message: str, kind: ErrorKind, status: int = 0) -> None:
        error = HeadwayError(message)
        error.kind = kind
        super().__init__(error)
        self.status = status


class ServerUnreachable(RequestRefused):
    """The server does not answer, or not now."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message, ErrorKind.UNREACHABLE, status)


@dataclass(frozen=True)
class Client:
    """Requests to one server, as the account of one token."""

    server: str
    token_file: Path
    token: str = field(repr=False)
    opener: urllib.request.OpenerDirector = field(repr=False)

    @classmethod
    def of(cls, server: str | None, token_file: Path | None) -> "Client":
        """From the options. Nothing is sent. Raises UsageError, or RequestRefused for the file."""
        if not server:
            raise click.UsageError("Which server? Give --server URL, or set HEADWAY_SERVER.")
        if not token_file:
            raise click.UsageError(
                "Which account? Give --token-file FILE, or set HEADWAY_TOKEN_FILE. You can create "
                "a token on the pages, in the menu under your name."
            )
        parts = _checked(server)
        return cls(server.rstrip("/"), token_file, read_token(token_file), _opener(parts))

    def get(self, path: str, **query: Query) -> Any:
        """What the API answers there."""
        return self.request("GET", path, query=query)[0]

    def find(self, things: str, name: str) -> Any:
        """A project or a database by its name or id."""
        return self.get(f"/{things}/find", name=name)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """What the API answers to this body, without its empty values."""
        return self.request("POST", path, body=without_none(body or {}))[0]

    def page(
        self, path: str, *, limit: int, after: int | None, **query: Query
    ) -> tuple[list[Any], int | None]:
        """So many items of a list, and the `after` of those that follow."""
        found: list[Any] = []
        while True:
            size = min(limit - len(found), PAGE)
            answer = self.get(path, limit=size, after=after, **query)
            found, after = found + answer["items"], answer["next"]
            if after is None or len(found) >= limit:
                return found, after

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Query] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[Any, Mapping[str, str]]:
        """The answer to a request, and its headers. Raises RequestRefused."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310  # _checked allows http and https only
            f"{self.server}/api/v1{path}{_query(query or {})}", data, method=method
        )
        for name, value in {
            "Accept": "application/json",
            "Content-Type": "application/json",
            "User-Agent": "headway",
            **(headers or {}),
        }.items():
            request.add_header(name, value)
        request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        try:
            with self.opener.open(request, timeout=SECONDS) as answer:
                text, found = answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error) from None
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error, sends=method != "GET") from None
        try:
            return (json.loads(text) if text else None), found
        except ValueError:
            raise self._no_api() from None

    def _refusal(self, error: urllib.error.HTTPError) -> RequestRefused:
        if error.code in range(300, 400):
            return self._redirected(str(error.headers.get("Location", "")))
        try:
            problem = json.load(error)
            detail, page = str(problem["detail"]), str(problem["type"])
        except (ValueError, OSError, LookupError, TypeError, http.client.HTTPException):
            return self._strange(error)
        detail = THEIRS.sub("`headway fleet ", detail)
        kind = KINDS.get(error.code, ErrorKind.INVALID)
        if error.code == HTTPStatus.CONFLICT and error.headers.get("Retry-After"):
            kind = ErrorKind.BUSY
        if error.code == HTTPStatus.INTERNAL_SERVER_ERROR and page not in OWN_FAULTS:
            kind = ErrorKind.MISCONFIGURED
        if kind is ErrorKind.DENIED:
            detail = f"{detail} The token is that of {self.token_file}."
        if kind in (ErrorKind.UNREACHABLE, ErrorKind.BUSY):
            return ServerUnreachable(detail, error.code)
        return RequestRefused(detail, kind, error.code)

    def _strange(self, error: urllib.error.HTTPError) -> RequestRefused:
        """An answer that is not the API's own: of a proxy, or of another program."""
        words = f"{self.server} answers {error.code} {error.reason}"
        if error.code in (429, 502, 503, 504):
            return ServerUnreachable(f"{words}: try again later.", error.code)
        return RequestRefused(
            f"{words}, and that is not Headway's API: check --server.",
            KINDS.get(error.code, ErrorKind.FAILED),
            error.code,
        )

    def _redirected(self, location: str) -> RequestRefused:
        there = urlsplit(location)
        host = f"{there.scheme}://{there.netloc}" if there.netloc else "another path"
        return RequestRefused(
            f"{self.server} redirects to {host}. The token is not sent there: give the server's "
            "own address, --server URL.",
            ErrorKind.MISCONFIGURED,
        )

    def _no_api(self) -> RequestRefused:
        return RequestRefused(
            f"{self.server} answers, and that is not Headway's API: check --server.",
            ErrorKind.MISCONFIGURED,
        )

    def _unreachable(self, error: Exception, *, sends: bool) -> RequestRefused:
        cause = getattr(error, "reason", error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return RequestRefused(
                f"The certificate of {self.server} is not trusted: {cause.verify_message}. "
                "SSL_CERT_FILE names the authorities to trust.",
                ErrorKind.MISCONFIGURED,
            )
        why = "it took too long" if isinstance(cause, TimeoutError) else _reason(cause)
        more = ""
        if sends and not isinstance(cause, ConnectionRefusedError):
            more = " The action may have been done. Check before you repeat it."
        return ServerUnreachable(f"{self.server} does not answer: {why}.{more}")


OWN_FAULTS = ("about:blank", "/problems/headway-error")
"""Problems of status 500 that no setting causes."""


def read_token(file: Path) -> str:
    """The token in a file that nobody else may read. Raises RequestRefused."""
    try:
        with file.open("rb") as opened:
            status = os.fstat(opened.fileno())
            text = opened.read(MOST_OF_TOKEN).decode("ascii", "replace").strip()
    except OSError as error:
        raise RequestRefused(
            f"The token file {file} cannot be read: {error.strerror}.", ErrorKind.MISCONFIGURED
        ) from None
    # A secret that a platform mounts is root's, and is read by its group.
    private = os.name != "posix" or status.st_uid != os.getuid()
    others = stat.S_IRWXO if private else stat.S_IRWXG | stat.S_IRWXO
    if os.name == "posix" and status.st_mode & others:
        raise RequestRefused(
            f"Others may read the token file {file}: `chmod 600 {file}`. If they have, revoke the "
            "token and make another.",
            ErrorKind.MISCONFIGURED,
        )
    if not TOKEN.fullmatch(text):
        raise RequestRefused(
            f"The file {file} holds no token. A token begins with hw_, and the file contains "
            "nothing else.",
            ErrorKind.MISCONFIGURED,
        )
    return text


def without_none(value: Any) -> Any:
    """A body without the values that were not given, which the server chooses then."""
    if not isinstance(value, Mapping):
        return value
    return {name: without_none(one) for name, one in value.items() if one is not None}


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """An answer that leads elsewhere is an error."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _opener(parts: SplitResult) -> urllib.request.OpenerDirector:
    # Without TLS it is this machine, where no proxy has to read the token.
    proxy = urllib.request.ProxyHandler({} if parts.scheme == "http" else None)
    tls = urllib.request.HTTPSHandler(context=ssl.create_default_context())
    return urllib.request.build_opener(proxy, tls, _NoRedirects)


def _checked(server: str) -> SplitResult:
    try:
        parts = urlsplit(server)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise click.UsageError("--server takes an address such as https://headway.example.org.")
    if "@" in parts.netloc:
        raise click.UsageError("--server takes no name and password: the token says who you are.")
    if parts.scheme == "http" and not _is_here(parts.hostname):
        raise click.UsageError(
            f"http://{parts.netloc} would show the token to the network: use https."
        )
    return parts


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _query(values: Mapping[str, Query]) -> str:
    given = {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in values.items()
        if value is not None
    }
    return f"?{urlencode(given)}" if given else ""


def _reason(cause: object) -> str:
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause) or type(cause).__name__
