"""Every page and every form, found by following links; the address map says if one was missed."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import parse_qs, urljoin, urlsplit

from flask import Flask, g
from flask.testing import FlaskClient
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

COOKIE = "headway_session"
FORGERY = "csrf_token"
ALIKE = 10
"""Of links that differ only in their query so many are followed."""
PLAUSIBLE = {"number": "1", "email": "x@example.org", "date": "2030-01-01", "checkbox": "on"}
"""What fits where a page leaves it to the person, by the type of the input."""
NOT_PAGES = {"web.static", "web.access.favicon"}


def endpoints(app: Flask, method: str) -> set[str]:
    """Those of the pages that take this method."""
    return {
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("web.")
        and rule.endpoint not in NOT_PAGES
        and method in (rule.methods or ())
    }


def endpoint_of(app: Flask, path: str, method: str = "GET") -> str:
    """What answers there."""
    return kind_of(app, path, method)[0]


def kind_of(app: Flask, path: str, method: str = "GET") -> tuple[str, tuple[str, ...]]:
    """What answers there, and the words in its address: not which database or rollout it is."""
    try:
        endpoint, given = app.url_map.bind("localhost").match(path.partition("?")[0], method)
    except HTTPException as error:
        raise AssertionError(f"nothing answers {method} {path}") from error
    return endpoint, tuple(value for value in given.values() if isinstance(value, str))


def walk(visitor: "Visitor", of_a_kind: int = 1000) -> dict[str, str]:
    """Every page that links lead this visitor to, from the first one on, and its text.

    Of links that differ only in their query a few are followed, and so many that differ only in
    which database or rollout they are of.
    """
    app, found, todo = visitor.client.application, {}, ["/"]
    seen, alike = set(todo), Counter[object]()
    while todo:
        path = todo.pop(0)
        answer = visitor.get(path)
        assert answer.status_code == 200, f"{path}: {answer.status}"
        found[path] = answer.text
        for link in links(path, answer.text):
            endpoint, words = kind_of(app, link)
            if link in seen or not endpoint.startswith("web."):
                continue
            seen.add(link)
            asked = tuple(sorted(parse_qs(urlsplit(link).query)))
            if asked and (alike[endpoint] >= ALIKE or alike[endpoint, asked]):
                continue
            if not asked and alike[endpoint, words, "like it"] >= of_a_kind:
                continue
            alike.update([endpoint, (endpoint, asked)] if asked else [(endpoint, words, "like it")])
            todo.append(link)
    return found


@dataclass
class Form:
    """A form on a page, as it would be sent by one of its buttons."""

    page: str
    action: str
    method: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[tuple[str, str, str]] = field(default_factory=list)
    """The name and value of each that sends it, and where to."""

    def data(self, token: str = "", *, but: tuple[str, ...] = ()) -> dict[str, list[str]]:
        """What a browser would send, with another token against forgery, or none."""
        sent: dict[str, list[str]] = {}
        for name, value in self.fields:
            if name not in (FORGERY, *but):
                sent.setdefault(name, []).append(value)
        return sent | ({FORGERY: [token]} if token else {})


class _Page(HTMLParser):
    """The forms and links of a page."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.links: list[str] = []
        self.forms: list[Form] = []
        self._form: Form | None = None
        self._by_id: dict[str, Form] = {}
        self._select = ""
        """The name of the choice that we are in, until something in it was taken."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "form":
            action = given.get("action") or self.path
            self._form = Form(self.path, action, given.get("method", "get").lower())
            self.forms.append(self._form)
            self._by_id[given.get("id", "")] = self._form
        elif "disabled" not in given:
            form = self._by_id.get(given["form"]) if "form" in given else self._form
            if form is not None:
                self._control(form, tag, given)

    def _control(self, form: Form, tag: str, given: dict[str, str]) -> None:
        name, value, kind = given.get("name", ""), given.get("value", ""), given.get("type", "")
        if tag == "button" and kind in ("", "submit"):
            form.buttons.append((name, value, given.get("formaction", form.action)))
        elif tag == "input" and name and kind not in ("submit", "button", "image", "file"):
            missing = PLAUSIBLE.get(kind, "x") if "required" in given or kind == "checkbox" else ""
            form.fields.append((name, value or missing))
        elif tag == "textarea":
            form.fields.append((name, "x" if "required" in given else ""))
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select and value:
            form.fields.append((self._select, value))
            self._select = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None


def links(path: str, text: str) -> list[str]:
    """The addresses of ours that a page leads to."""
    page = _Page(path)
    page.feed(text)
    found = [urljoin(path, link).partition("#")[0] for link in page.links]
    return [link for link in found if link.startswith("/") and not link.startswith("//")]


def forms(path: str, text: str) -> Iterator[Form]:
    """The forms of a page that change something, once for each of their buttons."""
    page = _Page(path)
    page.feed(text)
    for form in page.forms:
        for name, value, action in form.buttons if form.method == "post" else ():
            more = [(name, value)] if name else []
            yield Form(form.page, action, form.method, [*form.fields, *more])


class Visitor:
    """Somebody at a browser that keeps its cookies; nobody, without a token."""

    def __init__(self, app: Flask, token: str = "") -> None:
        self.client: FlaskClient = app.test_client()
        if token:
            form = {"token": token, FORGERY: self.forgery("/sign-in")}
            assert self.send("/sign-in", form).status_code == 302

    def get(self, path: str) -> TestResponse:
        forget()
        return self.client.get(path)

    def send(self, path: str, data: Mapping[str, object]) -> TestResponse:
        forget()
        return self.client.post(path, data=data)

    def forgery(self, path: str = "/") -> str:
        """The token against forgery that this visitor's forms carry."""
        for form in forms(path, self.get(path).text):
            for name, value in form.fields:
                if name == FORGERY:
                    return value
        raise AssertionError(f"no form of {path} carries a token against forgery")

    @property
    def session(self) -> str:
        """What the browser has as its session."""
        cookie = self.client.get_cookie(COOKIE)
        assert cookie is not None
        return cookie.value


def forget() -> None:
    """The test's own app context is that of its requests too: each begins with nothing."""
    for name in ("csrf_token", "csrf_valid", "actor", "token_id", "sees"):
        g.pop(name, None)
