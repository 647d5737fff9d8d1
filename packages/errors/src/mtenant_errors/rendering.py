"""The problem body, written twice: as a mapping and, faster, as JSON text.

A body is mostly constant: of its members only the texts differ from one error to the next. So the
constant part is encoded once for each code, and the texts by the encoder's own string function. A
property test holds the two to the same members.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quoted
from typing import TYPE_CHECKING

from mtenant_errors.codes import TYPE_PREFIX

if TYPE_CHECKING:
    from mtenant_errors.exceptions import AppError
    from mtenant_errors.table import Kind


def members(err: AppError, instance: str | None, request_id: str | None) -> dict[str, object]:
    """Return the members of a problem in the order of the JSON text."""
    problem: dict[str, object] = {
        **_constant(err.kind, err.code, err.retryable),
        "error": err.message,
        "detail": err.detail or err.message,
    }
    if err.detail:
        problem["details"] = err.detail
    if instance is not None:
        problem["instance"] = instance
    if request_id is not None:
        problem["request_id"] = request_id
    if err.errors:
        problem["errors"] = [*err.errors]
    return problem


def encode(err: AppError, instance: str | None, request_id: str | None) -> str:
    """Return a problem as JSON text."""
    head = _head(err.kind, err.code, err.retryable)
    said = _quoted(err.message)
    if err.detail:
        detail = _quoted(err.detail)
        body = f'{head}, "error": {said}, "detail": {detail}, "details": {detail}'
    else:
        body = f'{head}, "error": {said}, "detail": {said}'
    if instance is not None:
        body += f', "instance": {_quoted(instance)}'
    if request_id is not None:
        body += f', "request_id": {_quoted(request_id)}'
    if err.errors:
        body += f', "errors": {json.dumps(err.errors)}'
    return body + "}"


@lru_cache(maxsize=1024)  # codes may come from the far side, so there is no end to them
def _constant(kind: Kind, code: str, retryable: bool) -> Mapping[str, object]:
    return {
        "type": TYPE_PREFIX + code,
        "title": kind.title,
        "status": kind.status,
        "code": code,
        "retryable": retryable,
    }


@lru_cache(maxsize=1024)
def _head(kind: Kind, code: str, retryable: bool) -> str:
    return json.dumps({**_constant(kind, code, retryable)}).removesuffix("}")
