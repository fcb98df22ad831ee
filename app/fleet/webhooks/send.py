"""Send a signed message to a URL: to a public address, in time, and without redirects."""

import asyncio
import hashlib
import hmac
import ipaddress
import json
import secrets
import socket
import ssl
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpx

from app.settings import RELEASE

TIMEOUT = 10.0
"""Seconds within which the headers of the answer have to arrive."""
PREFIX = "whsec_"
OK, REDIRECTS = range(200, 300), range(300, 400)


class PrivateAddress(Exception):
    """The host leads into a private network, and no setting names it."""


WORDS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((TimeoutError,), f"It did not answer within {TIMEOUT:.0f} seconds."),
    (
        (PrivateAddress,),
        (
            "Its host leads to an address that is not public. Nothing was sent. Ask the person who "
            "runs Headway to name the host in HEADWAY_WEBHOOK_HOSTS."
        ),
    ),
    ((ssl.SSLError,), "It does not speak TLS as expected."),
    ((socket.gaierror,), "Its host name is not known."),
    ((ConnectionRefusedError,), "The connection was refused: no server listens there."),
    (
        (httpx.ReadError, httpx.WriteError, httpx.ProtocolError, ConnectionError, ValueError),
        "The connection ended before there was an answer.",
    ),
)
"""Exceptions -> the error message; the first match counts."""
NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""Addresses of IPv6 that stand for those of IPv4, as do those that `ipaddress` tells."""


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


def send(url: str, secret: str, message: Message, private: Sequence[str] = ()) -> Answer:
    """Send a message once. Errors are returned in the Answer, without the URL.

    `private` are the hosts that may have an address that is not public.
    """
    try:
        return asyncio.run(_send(httpx.URL(url), secret, message, private))
    except (OSError, httpx.HTTPError, httpx.InvalidURL, PrivateAddress, ValueError) as error:
        return Answer(error=_why(error))


async def _send(url: httpx.URL, secret: str, message: Message, private: Sequence[str]) -> Answer:
    proxy = None if proxy_bypass(url.host) else getproxies().get(url.scheme)
    # A proxy resolves the name itself, and has rules of its own.
    places = [url.host] if proxy else _addresses(url, private)
    verify = ssl.create_default_context() if url.scheme == "https" else False
    async with (
        asyncio.timeout(TIMEOUT),
        httpx.AsyncClient(proxy=proxy, trust_env=False, verify=verify, timeout=None) as client,  # noqa: S113  # it is above
    ):
        while True:
            # The address that was checked, and the certificate of the name.
            request = client.build_request(
                "POST",
                url.copy_with(host=places.pop(0)),
                content=(payload := message.payload()),
                headers=_headers(secret, message, payload) | {"Host": url.netloc.decode()},
                extensions={"sni_hostname": url.host},
            )
            try:
                response = await client.send(request, stream=True)
            except httpx.ConnectError:
                if places:
                    continue
                raise
            await response.aclose()
            return _answer_for(response.status_code)


def _headers(secret: str, message: Message, payload: bytes) -> dict[str, str]:
    timestamp = int(time.time())
    return {
        "Content-Type": "application/json",
        "User-Agent": f"Headway/{RELEASE}",
        "webhook-id": message.id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(secret, message.id, timestamp, payload),
    }


def _addresses(url: httpx.URL, private: Sequence[str]) -> list[str]:
    """The addresses of the host that may be sent to. Raises PrivateAddress if there is none."""
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    found = socket.getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if any(_names(entry.lower(), url.host, port) for entry in private):
        return addresses
    if public := [address for address in addresses if is_public(address)]:
        return public
    raise PrivateAddress


def is_public(text: str) -> bool:
    """True for an address of the internet, and for none of a network of ours or this machine."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or [None, None])[1]
        if address in NAT64:
            inner = ipaddress.IPv4Address(address.packed[-4:])
        address = inner or address
    return address.is_global and not address.is_multicast


def _names(entry: str, host: str, port: int) -> bool:
    """True if an entry of HEADWAY_WEBHOOK_HOSTS means this host: `*.example.org`, `h:8080`."""
    shown = f"[{host}]" if ":" in host else host
    if entry.startswith("*"):
        return f"{shown}:{port}".endswith(entry[1:]) or shown.endswith(entry[1:])
    return entry in (host, shown, f"{shown}:{port}")


def _answer_for(status: int) -> Answer:
    if status in OK:
        return Answer(status=status)
    if status in REDIRECTS:
        words = (
            f"It answered {status}. Redirects are not followed. Create the webhook again, with the "
            "new URL."
        )
        return Answer(status=status, error=words)
    return Answer(status=status, error=f"It answered {status}.")


def _why(error: BaseException) -> str:
    """Our own message: those of the libraries may contain the URL, and so a token."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"Its certificate cannot be trusted: {cause.verify_message}."
    for kinds, words in WORDS:
        if any(isinstance(cause, kinds) for cause in causes):
            return words
    told = (cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror)
    return f"It cannot be reached: {next(told, 'unknown error')}."


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
