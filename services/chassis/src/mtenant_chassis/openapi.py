"""What OpenAPI says of every operation, besides what FastAPI finds out by itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from mtenant_chassis import etag, fieldset
from mtenant_chassis.auth.access import Access
from mtenant_errors.table import BY_STATUS

Responses = dict[int | str, dict[str, Any]]

SECURITY: Final = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
}

PROBLEM: Final[dict[str, Any]] = {
    "title": "Problem",
    "description": "What went wrong (RFC 9457). Branch on `code`; it never changes.",
    "type": "object",
    "required": ["type", "title", "status", "code", "retryable", "error", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri", "examples": ["urn:mtenant:error:NOT_FOUND"]},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "code": {"type": "string", "pattern": "^[A-Z][A-Z0-9_]{1,62}$"},
        "retryable": {"type": "boolean", "description": "the same request may succeed later"},
        "error": {"type": "string"},
        "detail": {"type": "string"},
        "details": {"type": "string"},
        "instance": {"type": "string", "format": "uri-reference"},
        "request_id": {"type": "string", "description": "under which our logs have it"},
        "errors": {
            "type": "array",
            "description": "one entry for each thing that is wrong with the request",
            "items": {
                "type": "object",
                "properties": {
                    "in": {"type": "string", "enum": ["body", "query", "path", "header", "cookie"]},
                    "pointer": {"type": "string", "description": "in the body (RFC 6901)"},
                    "name": {"type": "string", "description": "elsewhere"},
                    "type": {"type": "string"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}

_SCHEMAS: Final = "#/components/schemas/"
_ALWAYS: Final = (400, 429, 500, 503, 504)
_READS: Final = frozenset({"GET", "HEAD"})


def raises(*statuses: int) -> Responses:
    """Return the `responses=` of a route that raises these problems, besides those of all routes.

    >>> sorted(raises(404, 409))
    [404, 409]
    """
    return {status: _problem(status) for status in statuses}


def responses_of(
    access: Access,
    methods: Iterable[str],
    path: str,
    calls: frozenset[Any],
    *,
    body: bool,
    idempotent: bool,
) -> Responses:
    """Return every status that a route may answer with because of what the chassis does for it.

    Args:
        access: What the route asks of its caller.
        methods: Its methods.
        path: Its template.
        calls: The dependencies that it has.
        body: Whether it reads one.
        idempotent: Whether it offers Idempotency-Key.
    """
    statuses = set(_ALWAYS)
    if access.who != "public":
        statuses |= {401, 403, 404}  # 404: the tenant itself may be gone
    if "{" in path:
        statuses.add(404)
    if body:
        statuses |= {413, 422}
    if idempotent:
        statuses |= {409, 422}
    if etag.condition in calls:
        statuses.add(412)
    if etag.required_condition in calls:
        statuses.add(428)
    found = raises(*sorted(statuses))
    if _READS & set(methods):
        found[304] = {"description": "Not modified since the ETag that If-None-Match names"}
    # An answer that no row above foresees, such as a gateway's; it also keeps FastAPI's own 422 away.
    return {**found, "default": _described("Any other error")}


def security_of(access: Access) -> dict[str, Any]:
    """Return what an operation says about its callers."""
    if access.who == "public":
        return {"security": []}
    said: dict[str, Any] = {"security": [{"bearer": []}]}
    if access.who == "services":
        said["x-callers"] = "services"
    if access.permission is not None:
        said["x-permission"] = access.permission
    return said


def complete(document: dict[str, Any]) -> dict[str, Any]:
    """Add what operations refer to."""
    components = document.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = PROBLEM
    components["securitySchemes"] = SECURITY
    for item in document.get("paths", {}).values():
        for operation in item.values():
            for parameter in operation.get("parameters", ()):
                parameter["schema"] = _without_null(parameter["schema"])
                if parameter["name"] == fieldset.PARAMETER:
                    _answer_in_part(operation, components["schemas"])
    return document


def _answer_in_part(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    content = operation["responses"]["200"]["content"]["application/json"]
    whole = content["schema"]
    if "$ref" not in whole:  # it is complete: the framework keeps a document that was made
        return
    page = whole["$ref"].removeprefix(_SCHEMAS)
    item = schemas[page]["properties"]["items"]["items"]["$ref"].removeprefix(_SCHEMAS)
    part = f"{item}Part"
    schemas[part] = {
        **{name: value for name, value in schemas[item].items() if name != "required"},
        "title": part,
        "description": f"The members of {item} that `fields` names.",
    }
    members = schemas[page]["properties"]
    items = {**members["items"], "items": {"$ref": _SCHEMAS + part}}
    of_parts = f"{page}Part"
    schemas[of_parts] = {
        **schemas[page],
        "title": of_parts,
        "properties": {**members, "items": items},
    }
    content["schema"] = {"anyOf": [whole, {"$ref": _SCHEMAS + of_parts}]}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    # A parameter that may be left out has None for it in the program; nobody can send a null.
    kinds = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    return {**{name: value for name, value in schema.items() if name != "anyOf"}, **kinds[0]}


def _problem(status: int) -> dict[str, Any]:
    return _described(BY_STATUS[status].title)


def _described(what: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": what, "content": {"application/problem+json": {"schema": schema}}}
