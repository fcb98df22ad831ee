"""The OpenAPI 3.1 description: APIFlask derives most of it; this adds what all operations share."""

import json
import re
from typing import Any

from apiflask import APIFlask

from app.api.problems import MEDIA_TYPE

DESCRIPTION = """
Every operation but `signIn` needs a token: `Authorization: Bearer hw_…`.

Errors are [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problems. Lists have pages: send
the `next` of one page as `after` for the next. A POST that takes an `Idempotency-Key` can be sent
again with the same key; it is done once.
"""
EVERYWHERE = {
    "401": "A valid token is needed.",
    "409": "The current state does not allow this. With `Retry-After`: try again after that time.",
    "429": "Too many sign-ins or tokens from your network were refused.",
    "500": "A bug in Headway: see the log.",
    "503": "The catalog does not answer, or this server is busy: see `Retry-After`.",
}
WITH_BODY = {
    "400": "The body is not JSON.",
    "413": "The body is larger than 1 MiB.",
    "415": "The body has another content type.",
}
FORBIDDEN = {"403": "Your role does not allow this."}
NOT_THERE = {"404": "It does not exist."}
UNUSABLE = {"422": "A field, parameter or header is invalid."}
CONDITIONAL = {
    "412": "It was changed since you read it.",
    "428": "`If-Match` is missing.",
}
FOR_ALL = (
    *("signIn", "readMe", "readToken", "revokeToken", "listGrants"),
    *("listRevisions", "readRevision", "listDrifts", "listDifferences"),
    *("listProjects", "readProject", "listDatabases", "readDatabase", "readOverview"),
    *("findProject", "findDatabase", "planRun"),
    *("listRollouts", "readRollout", "previewRollout", "previewNewRollout", "previewUndo"),
    *("readProgress", "followRollout", "listRuns", "readRun"),
    *("exportRunsAsJsonLines", "exportRunsAsCsv"),
)
BY_NUMBER = (
    *("importDatabases", "previewNewRollout", "findProject", "findDatabase"),
    *("listDrifts", "listDifferences", "ignoreDrift", "listGrants", "giveGrant"),
)
"""Operations whose query or body refers to another object, which may not exist."""
CONDITIONED = (
    *("changeAccount", "deleteAccount", "changeProject", "deleteProject"),
    *("changeDatabase", "retireDatabase"),
)
TAGGED = (
    *("createAccount", "readAccount", "changeAccount"),
    *("createProject", "readProject", "findProject", "changeProject"),
    *("registerDatabase", "createDatabase", "readDatabase", "findDatabase", "changeDatabase"),
    *("pinDatabase", "unpinDatabase"),
)
REACHING = ("createDatabase", "importDatabases", "dropDatabase")
"""Operations that connect to a database while the caller waits."""


def init_app(app: APIFlask) -> None:
    """Configure and complete the description."""
    app.config.update(
        OPENAPI_VERSION="3.1.0",
        DESCRIPTION=DESCRIPTION,
        AUTO_SERVERS=False,
        AUTO_404_RESPONSE=False,
        AUTO_VALIDATION_ERROR_RESPONSE=False,
        AUTO_AUTH_ERROR_RESPONSE=False,
        SECURITY_SCHEMES={"token": {"type": "http", "scheme": "bearer"}},
    )
    app.spec_processor(_complete)  # type: ignore[arg-type]


def _complete(spec: dict[str, Any]) -> dict[str, Any]:
    """Add what every operation shares: security, problems, headers, conditional requests."""
    spec = _one_name_each(spec)
    spec["components"]["schemas"]["Problem"] = PROBLEM
    spec["components"]["headers"] = HEADERS
    spec["tags"] = [
        {"name": name}
        for name in (
            *("accounts", "tokens", "events", "projects", "grants", "revisions", "databases"),
            *("drifts", "rollouts", "runs", "webhooks", "workers"),
        )
    ]
    for path in spec["paths"].values():
        for method, operation in path.items():
            if method in ("get", "post", "patch", "delete"):
                _complete_operation(operation)
    return spec


def _one_name_each(spec: dict[str, Any]) -> dict[str, Any]:
    """Give each schema one name. APIFlask repeats nested ones, as in `AccountPage.AccountOut`."""
    text = re.sub(r"(#/components/schemas/)\w+\.(\w+)", r"\1\2", json.dumps(spec))
    spec = json.loads(text)
    shapes = spec["components"]["schemas"]
    spec["components"]["schemas"] = {
        name.rpartition(".")[2]: shape for name, shape in sorted(shapes.items())
    }
    return spec


def _complete_operation(operation: dict[str, Any]) -> None:
    name, answers = operation["operationId"], operation["responses"]
    operation["security"] = [] if name == "signIn" else [{"token": []}]
    operation["parameters"] = _parameters(name, operation.get("parameters", []))
    if "requestBody" in operation:
        operation["requestBody"]["required"] = True
    if name == "createDatabase":
        answers["202"]["description"] = "It is being created: wait."
        answers["201"] = {"description": "It is created.", "content": DATABASE}
    if name == "openDatabase":
        answers["202"] = answers["200"] | {"description": "It is being upgraded: wait."}
    if name == "readAccount":
        answers["304"] = {"description": "It has not changed.", "headers": _headers("ETag")}
    for code, words in _refusals(name, operation).items():
        answers[code] = {
            "description": words,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    _add_headers(name, answers, takes_key=IDEMPOTENCY_KEY in operation["parameters"])


def _parameters(name: str, derived: list[dict[str, Any]]) -> list[dict[str, Any]]:
    others = [one for one in derived if one["in"] not in ("header", "headers")]
    takes_key = len(others) < len(derived)  # no other header is read by a schema
    return (
        others
        + ([IF_MATCH] if name in CONDITIONED else [])
        + ([IF_NONE_MATCH] if name == "readAccount" else [])
        + ([IDEMPOTENCY_KEY] if takes_key else [])
        + ([LAST_EVENT_ID] if name == "followRollout" else [])
        + ([PREFER] if name == "createDatabase" else [])
    )


def _refusals(name: str, operation: dict[str, Any]) -> dict[str, str]:
    places = {one["in"] for one in operation["parameters"]}
    refusals = dict(EVERYWHERE)
    if name not in FOR_ALL:
        refusals |= FORBIDDEN
    if "requestBody" in operation:
        refusals |= WITH_BODY
    if "requestBody" in operation or "query" in places or name in CONDITIONED:
        refusals |= UNUSABLE
    if name in REACHING:
        refusals |= {"502": "The database refused the connection, or a revision failed."}
    if "path" in places or IDEMPOTENCY_KEY in operation["parameters"] or name in BY_NUMBER:
        refusals |= NOT_THERE
    if name in CONDITIONED:
        refusals |= CONDITIONAL
    return refusals


def _add_headers(name: str, answers: dict[str, Any], *, takes_key: bool) -> None:
    for code, answer in answers.items():
        names = ["X-Request-ID"]
        names += ["ETag"] if name in TAGGED and code in ("200", "201", "304") else []
        names += ["Location"] if code in ("201", "202") else []
        names += ["Idempotent-Replayed"] if code == "201" and takes_key else []
        names += ["Preference-Applied"] if code in WAITED and name == "createDatabase" else []
        names += ["Link"] if name.startswith("list") and code == "200" else []
        names += ["WWW-Authenticate"] if code == "401" else []
        names += ["Retry-After"] if code in ("409", "429", "503") else []
        answer["headers"] = _headers(*names)


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": True,
    "description": "The ETag of the version that you read, or `*` for any version.",
    "schema": {"type": "string", "pattern": r'^(\*|(W/)?"[!#-~]+")$'},
    "example": '"1-1"',
}
IF_NONE_MATCH = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "The ETag of the version that you have: the answer is 304 if it is current.",
    "schema": {"type": "string"},
}
LAST_EVENT_ID = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "The id of the last event that you saw; it is not sent again.",
    "schema": {"type": "string"},
}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A request that is sent again with the same key is done once.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"},
}
PREFER = {
    "name": "Prefer",
    "in": "header",
    "required": False,
    "description": "`wait=N` (RFC 7240): answer 201 if it is done in so many seconds, at most 60.",
    "schema": {"type": "string"},
    "example": "wait=30",
}
WAITED = ("201", "202")
DATABASE = {"application/json": {"schema": {"$ref": "#/components/schemas/DatabaseOut"}}}
HEADERS = {
    "X-Request-ID": {
        "description": "The id of the request, which the log has too. Yours, if you sent one.",
        "schema": {"type": "string"},
        "required": True,
    },
    "ETag": {
        "description": "The version, for `If-Match`.",
        "schema": {"type": "string"},
        "required": True,
        "example": '"1-1"',
    },
    "Location": {
        "description": "The URL of the new resource, or of its progress.",
        "schema": {"type": "string", "format": "uri-reference"},
        "required": True,
    },
    "Idempotent-Replayed": {
        "description": "An equal request with the same key did this before.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "Preference-Applied": {
        "description": "How long was waited for at most.",
        "schema": {"type": "string"},
        "example": "wait=30",
    },
    "Link": {
        "description": "The next page, if there is one.",
        "schema": {"type": "string"},
        "example": '</api/v1/accounts?after=50>; rel="next"',
    },
    "WWW-Authenticate": {
        "description": "`Bearer`.",
        "schema": {"type": "string"},
        "required": True,
    },
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "string"}},
}
PROBLEM = {
    "type": "object",
    "description": "RFC 9457. `type` is the URL of a page that explains what to do.",
    "examples": [
        {
            "type": "/problems/token-refused",
            "title": "A valid token is needed",
            "status": 401,
            "detail": "A valid token is needed",
            "instance": "urn:request:5c2a7e0f9d1b4e36",
        }
    ],
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["in", "pointer", "detail"],
                "properties": {
                    "in": {"type": "string"},
                    "pointer": {"type": "string"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}
