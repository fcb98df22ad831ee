"""The OpenAPI 3.1 description: what APIFlask derives, and what holds for every operation."""

from typing import Any

from apiflask import APIFlask

from app.api.problems import MEDIA_TYPE

DESCRIPTION = """
Every operation but `signIn` needs a token: `Authorization: Bearer hw_…`.

Errors are [RFC 9457](https://www.rfc-editor.org/rfc/rfc9457) problems. Lists come in pages: send
the `next` of one page as `after` for the next. A POST with an `Idempotency-Key` may be sent twice.
"""
ALWAYS = {
    "400": "The body is no JSON.",
    "401": "A token that is valid is needed.",
    "403": "Your role does not allow this.",
    "404": "There is no such thing.",
    "409": "Something else is in the way.",
    "413": "The body is larger than 1 MiB.",
    "415": "The body is of another type.",
    "422": "A field cannot be used.",
    "429": "Too many requests from your address.",
    "500": "A bug: see the log.",
    "503": "The catalog does not answer.",
}
CONDITIONAL = {
    "412": "The account was changed since you read it.",
    "428": "`If-Match` is missing.",
}
HEADERS = {
    "Retry-After": {"schema": {"type": "string"}, "description": "Seconds to wait."},
}


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
    """Add what every operation shares: security, problems, conditional requests."""
    spec.setdefault("components", {}).setdefault("schemas", {})["Problem"] = PROBLEM
    spec["tags"] = [{"name": name} for name in ("accounts", "tokens", "events")]
    for path in spec["paths"].values():
        for method, operation in path.items():
            if method in ("get", "post", "patch", "delete"):
                _complete_operation(method, operation)
    return spec


def _complete_operation(method: str, operation: dict[str, Any]) -> None:
    if operation["operationId"] != "signIn":
        operation["security"] = [{"token": []}]
    operation["parameters"] = [p for p in operation.get("parameters", []) if p["in"] != "headers"]
    refusals = dict(ALWAYS)
    if method in ("patch", "delete") and "Account" in operation["operationId"]:
        refusals |= CONDITIONAL
        operation["parameters"].append(IF_MATCH)
    if operation["operationId"] in ("createAccount", "createToken"):
        operation["parameters"] = [p for p in operation["parameters"] if p["in"] != "header"]
        operation["parameters"].append(IDEMPOTENCY_KEY)
    if operation["operationId"] == "readAccount":
        operation["responses"]["304"] = {"description": "You have it."}
    if method in ("get", "delete"):
        refusals = {
            code: words for code, words in refusals.items() if code not in ("400", "413", "415")
        }
    if "requestBody" in operation:
        operation["requestBody"]["required"] = True
    for code, words in refusals.items():
        operation["responses"][code] = {
            "description": words,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    for code in ("409", "429", "503"):
        operation["responses"][code]["headers"] = HEADERS


IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": True,
    "description": "The ETag of what you read, or `*`.",
    "schema": {"type": "string", "pattern": r'^(\*|(W/)?"[!#-~]+")$'},
    "example": '"1-1"',
}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key and request again: the same answer, done once.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"},
}
PROBLEM = {
    "type": "object",
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
