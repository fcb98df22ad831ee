"""A provider of sign-ins of our own: OpenID Connect over HTTP, with tokens that it really signs."""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

CLIENT, SECRET = "headway", "hunter2"
ADA = {"sub": "ada-1", "email": "Ada@example.org", "email_verified": True}


class Provider:
    """What it knows, what it was asked, and how it misbehaves."""

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "first"})
        self.person: dict[str, Any] = dict(ADA)
        self.told_by_userinfo: dict[str, Any] | None = None
        """If there is something, the ID token names the subject only."""
        self.lies: dict[str, Any] = {}
        """Claims that are not what they should be; None leaves one out."""
        self.says: dict[str, Any] = {}
        """Of itself, instead of the truth."""
        self.refuses = ""
        self.signed_with: Any = None
        self.asked: list[dict[str, str]] = []
        self.codes: dict[str, dict[str, str]] = {}
        self.proved = 0
        """How many codes were changed for tokens, with a verifier that fits."""

    issuer = ""

    def metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
        } | self.says

    def authorize(self, asked: dict[str, str]) -> str:
        """Where the person's browser is sent back to."""
        self.asked.append(asked)
        answer = {"state": asked["state"]}
        if self.refuses:
            return f"{asked['redirect_uri']}?{urlencode(answer | {'error': self.refuses})}"
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        return f"{asked['redirect_uri']}?{urlencode(answer | {'code': code})}"

    def token(self, form: dict[str, str], authorization: str) -> dict[str, Any] | None:
        """The tokens for a code: once, to our client, that knows the verifier."""
        asked = self.codes.pop(form.get("code", ""), None)
        known = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if asked is None or authorization != f"Basic {known}":
            return None
        if asked["code_challenge_method"] != "S256" or asked["code_challenge"] != challenge:
            return None
        self.proved += 1
        told = {"sub": self.person["sub"]} if self.told_by_userinfo else self.person
        now = int(time.time())
        about = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 60}
        claims = about | told | {"nonce": asked["nonce"]} | self.lies
        claims = {name: value for name, value in claims.items() if value is not None}
        return {"access_token": "opaque", "token_type": "Bearer", "id_token": self._sign(claims)}

    def _sign(self, claims: dict[str, Any]) -> str:
        if self.signed_with == "none":
            parts = [{"alg": "none"}, claims]
            text = [base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=") for p in parts]
            return b".".join([*text, b""]).decode()
        if isinstance(self.signed_with, OctKey):
            header = {"alg": "HS256", "kid": "first"}
            return jwt.encode(header, claims, self.signed_with, algorithms=["HS256"])
        key = self.signed_with or self.key
        return jwt.encode({"alg": "RS256", "kid": key.kid}, claims, key)


@contextmanager
def providing() -> Iterator[Provider]:
    """A provider that answers on a port of its own, in a thread."""
    provider = Provider()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, asked = urlsplit(self.path).path, _flat(urlsplit(self.path).query)
            if path == "/.well-known/openid-configuration":
                self._json(provider.metadata())
            elif path == "/authorize":
                self.send_response(302)
                self.send_header("Location", provider.authorize(asked))
                self.end_headers()
            elif path == "/keys":
                self._json({"keys": [provider.key.as_dict(private=False)]})
            elif path == "/userinfo" and self.headers["Authorization"] == "Bearer opaque":
                self._json(provider.told_by_userinfo or provider.person)
            else:
                self._json({"error": "nothing here"}, 404)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            tokens = provider.token(_flat(body), self.headers.get("Authorization", ""))
            self._json(tokens or {"error": "invalid_grant"}, 200 if tokens else 400)

        def _json(self, body: dict[str, Any], status: int = 200) -> None:
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """It keeps to itself."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    provider.issuer = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _flat(text: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(text).items()}
