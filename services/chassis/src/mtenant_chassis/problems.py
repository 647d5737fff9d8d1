"""Every error becomes a problem, those of the framework too, and none echoes what was sent.

FastAPI tells what it refused, with the input. Here each error of a request keeps its place and its
kind: `{"pointer": "#/email", "in": "body", "type": "missing", "detail": "Field required"}`. Messages
are made from the schema's side of an error; names that the schema does not know become `*`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic_core import PydanticKnownError
from starlette.exceptions import HTTPException

from mtenant_errors import AppError, BadRequest, InternalServerError, MethodNotAllowed, codes
from mtenant_errors.exceptions import CLASSES

_FROM_SCHEMA: Final = frozenset(
    """expected_plural gt ge lt le multiple_of min_length max_length pattern expected expected_schemes max_digits
    decimal_places whole_digits field_type class encoding tz_expected discriminator expected_tags
    method_name expected_version tzinfo_expected""".split()  # noqa: SIM905 - a list of words
)
# How pydantic-core ends its sentence about a length; it is not in the context.
_COUNTED: Final = frozenset(
    {"string_too_short", "string_too_long", "bytes_too_short", "bytes_too_long"}
)
_PLACE: Final = re.compile(r"\{(\w+)\}")
_UNTOLD: Final = "does not fit the schema"
_MOST: Final = 50
# Their templates quote the input in words of their own.
_QUOTING: Final = frozenset({"value_error", "assertion_error", "union_tag_invalid"})
_SCALAR: Final = {
    "uuid_parsing": "is no UUID",
    "uuid_type": "is no UUID",
    "datetime_parsing": "is no date and time of RFC 3339",
    "datetime_from_date_parsing": "is no date and time of RFC 3339",
    "date_parsing": "is no date, YYYY-MM-DD",
    "date_from_datetime_parsing": "is no date, YYYY-MM-DD",
    "time_parsing": "is no time",
    "url_parsing": "is no URL",
    "json_invalid": "is no JSON",
}


def install(app: FastAPI) -> None:
    """Let the framework's own errors be raised as ours; `ErrorMiddleware` outside answers them."""

    async def answer(request: Request, exc: Exception) -> Response:
        if isinstance(exc, HTTPException) and exc.status_code == 405:
            raise not_allowed(request) from exc
        raise translate(exc, known_names(request.app)) from exc

    app.add_exception_handler(HTTPException, answer)
    app.add_exception_handler(RequestValidationError, answer)


def not_allowed(request: Request) -> MethodNotAllowed:
    """Return the error of a path that is there, for a method that it has not (RFC 9110, 15.5.6)."""
    # The framework names the methods of the first route that has the path; its template may have
    # several. Templates that match it further down are other resources: /open is not /{note_id}.
    routes, path = request.app.state.own_routes, request.scope["path"]
    template = next((one.path for one in routes if one.path_regex.match(path)), None)
    methods = {name for one in routes if one.path == template for name in one.methods}
    return MethodNotAllowed(headers={"Allow": ", ".join(sorted(methods))})


def translate(exc: Exception, known: Iterable[str] = ()) -> AppError:
    """Return the error that an exception of the framework is answered with.

    Args:
        exc: `RequestValidationError`, an `HTTPException`, or anything.
        known: The names of the app's fields and parameters: no others are repeated.
    """
    if isinstance(exc, AppError):
        return exc
    if isinstance(exc, RequestValidationError):
        errors = [entry(error, frozenset(known)) for error in exc.errors()[:_MOST]]
        return BadRequest("the request is not valid", code=codes.VALIDATION_FAILED, errors=errors)
    if isinstance(exc, HTTPException) and exc.status_code in CLASSES:
        headers = dict(exc.headers) if exc.headers else None
        if isinstance(exc.__cause__, AppError):
            return exc.__cause__  # raised while the body was read, and wrapped by the framework
        if exc.status_code == 400:
            # Starlette's words for a body that is no UTF-8, nests too deep, has a number too long.
            told = [{"in": "body", "type": "body_invalid", "detail": "cannot be read"}]
            return BadRequest("the request is not valid", code=codes.VALIDATION_FAILED, errors=told)
        return CLASSES[exc.status_code](headers=headers, internal=str(exc.detail))
    return InternalServerError(internal=f"{type(exc).__name__}: {exc}")


def entry(error: Mapping[str, Any], known: frozenset[str]) -> dict[str, object]:
    """Return what may be told of one error of pydantic's.

    >>> entry({"type": "missing", "loc": ("body", "email"), "msg": "Field required"}, frozenset({"email"}))
    {'in': 'body', 'pointer': '#/email', 'type': 'missing', 'detail': 'Field required'}
    """
    place: Sequence[object] = error.get("loc", ())
    where = place[0] if place and place[0] in {"body", "query", "path", "header", "cookie"} else ""
    rest = list(place[1:] if where else place)
    kind = str(error.get("type", ""))
    if kind in {"extra_forbidden", "json_invalid"} and rest:
        rest.pop()  # a name that only the request has; an offset into what it sent
    names = [part if isinstance(part, int) or part in known else "*" for part in rest]
    told: dict[str, object] = {"in": where or "body"}
    if told["in"] == "body":
        told["pointer"] = "#" + "".join(f"/{_escaped(name)}" for name in names)
    else:
        told["name"] = ".".join(str(name) for name in names)
    return {**told, "type": kind, "detail": _detail(kind, error)}


def _escaped(name: object) -> str:
    return str(name).replace("~", "~0").replace("/", "~1")  # RFC 6901, 3


def _detail(kind: str, error: Mapping[str, Any]) -> str:
    if kind in _SCALAR:
        return _SCALAR[kind]
    said: Mapping[str, Any] = error.get("ctx") or {}
    if kind in _COUNTED:
        number = said.get("min_length", said.get("max_length"))
        said = {**said, "expected_plural": "" if number == 1 else "s"}
    try:
        template = PydanticKnownError(cast("Any", kind), dict(said)).message_template
    except (KeyError, TypeError):
        # One of our own (PydanticCustomError): without a context it was a text that its author wrote.
        return _UNTOLD if said else str(error.get("msg", _UNTOLD))
    places = set(_PLACE.findall(template))
    if kind in _QUOTING or not places <= (_FROM_SCHEMA & said.keys()):
        return _UNTOLD
    return _PLACE.sub(lambda place: str(said[place[1]]), template)


def known_names(app: FastAPI) -> frozenset[str]:
    """Return the names of all fields and parameters in an app's OpenAPI document."""
    found = getattr(app.state, "known_names", None)
    if found is None:
        found = frozenset(_names(app.openapi()))
        app.state.known_names = found
    return found


def _names(node: Any) -> Iterable[str]:
    if isinstance(node, dict):
        if isinstance(properties := node.get("properties"), dict):
            yield from properties
        if isinstance(name := node.get("name"), str) and "in" in node:
            yield name
            if node["in"] == "header":
                yield name.lower().replace("_", "-")
        for child in node.values():
            yield from _names(child)
    elif isinstance(node, list):
        for child in node:
            yield from _names(child)
