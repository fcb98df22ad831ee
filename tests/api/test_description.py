"""The OpenAPI description is whole: every operation, every status, every header."""

import json
import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.api.conftest import Call, assert_problem

Spec = dict[str, Any]


@pytest.fixture
def spec(client: FlaskClient) -> Spec:
    return dict(client.get("/api/v1/openapi.json").get_json())


def operations(spec: Spec) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, item in spec["paths"].items()
        for method, operation in item.items()
        if method in ("get", "post", "put", "patch", "delete")
    ]


def test_every_operation_is_described_and_nothing_else(app: Flask, spec: Spec) -> None:
    served = {
        (method.lower(), re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.endpoint.startswith("api.")
    }
    assert {(method, path) for method, path, _ in operations(spec)} == served
    assert spec["openapi"].startswith("3.1")


def test_every_reference_leads_somewhere(spec: Spec) -> None:
    found = re.findall(r'"\$ref": "#/components/(\w+)/([^"]+)"', json.dumps(spec))
    assert found
    for kind, name in found:
        assert "." not in name
        assert name in spec["components"][kind]


def test_every_operation_needs_a_token_but_signing_in(spec: Spec) -> None:
    assert spec["components"]["securitySchemes"]["token"] == {"type": "http", "scheme": "bearer"}
    for _, _, operation in operations(spec):
        signs_in = operation["operationId"] == "signIn"
        assert operation["security"] == ([] if signs_in else [{"token": []}])


def test_every_refusal_is_a_problem(spec: Spec) -> None:
    for _, path, operation in operations(spec):
        refusals = {code: a for code, a in operation["responses"].items() if code >= "400"}
        assert {"401", "429", "500", "503"} <= set(refusals), path
        for answer in refusals.values():
            assert list(answer["content"]) == ["application/problem+json"]


def test_every_described_operation_refuses_without_a_token(client: FlaskClient, spec: Spec) -> None:
    for method, path, operation in operations(spec):
        if operation["operationId"] == "signIn":
            continue
        response = client.open(re.sub(r"\{\w+\}", "1", path), method=method.upper())
        assert_problem(response, 401, "token-refused")


def headers_of(spec: Spec, name: str, code: int) -> set[str]:
    (answer,) = (
        operation["responses"][str(code)]
        for _, _, operation in operations(spec)
        if operation["operationId"] == name
    )
    return {
        header
        for header in answer["headers"]
        if spec["components"]["headers"][header].get("required")
    }


def test_the_headers_that_are_promised_come(call: Call, spec: Spec) -> None:
    made = call("admin", "POST", "/accounts", json={"name": "x"})
    key = made.get_json()["id"]
    token = call("viewer", "POST", "/tokens", json={"name": "x"})
    more = {"json": {"name": "y"}, "headers": {"If-Match": "*"}}
    answers = {
        "createAccount": made,
        "readAccount": call("viewer", "GET", f"/accounts/{key}"),
        "changeAccount": call("admin", "PATCH", f"/accounts/{key}", **more),
        "deleteAccount": call("admin", "DELETE", f"/accounts/{key}", headers={"If-Match": "*"}),
        "createToken": token,
        "readToken": call("viewer", "GET", token.headers["Location"].removeprefix("/api/v1")),
        "listEvents": call("viewer", "GET", "/events"),
        "readMe": call(None, "GET", "/me"),
    }
    for name, answer in answers.items():
        promised = headers_of(spec, name, answer.status_code)
        assert promised <= set(answer.headers.keys()), name
        assert "X-Request-ID" in promised


def test_what_is_not_named_in_a_change_has_no_default(spec: Spec) -> None:
    fields = spec["components"]["schemas"]["AccountChange"]["properties"].values()
    assert not any("default" in field for field in fields)
    assert "default" in spec["components"]["schemas"]["AccountIn"]["properties"]["role"]


def test_the_page_of_the_api_runs_no_inline_script(client: FlaskClient) -> None:
    page = client.get("/api/docs")
    policy = page.headers["Content-Security-Policy"]
    assert "script-src 'self'" in policy
    assert "style-src 'self'" in policy
    assert "unsafe" not in policy
    assert re.findall(r"<script(?![^>]*\ssrc=)", page.text) == []
    assert " style=" not in page.text
    assert not re.search(r"\son\w+=", page.text)
