"""What an app's OpenAPI document says that one may ask."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI

ABSENT: Final = "0b5bb1a4-5c6e-4e6b-9d35-1b1e3a1a7f6c"
"""A UUID that nothing has."""

_METHODS: Final = frozenset({"get", "put", "post", "patch", "delete"})


@dataclass(frozen=True)
class Operation:
    """An operation of the document: `str(operation)` is its method and path.

    Attributes:
        method: In upper case.
        path: With its parameters in braces.
        said: What the document says of it.

    >>> uuid = {"in": "path", "name": "deal_id", "schema": {"format": "uuid"}}
    >>> one = Operation("GET", "/api/deals/{deal_id}", {"parameters": [uuid]})
    >>> str(one), one.ids, one.url(deal_id="7")
    ('GET /api/deals/{deal_id}', ['deal_id'], '/api/deals/7')
    """

    method: str
    path: str
    said: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def is_public(self) -> bool:
        """Say whether it is open to everybody."""
        return self.said.get("security") == []

    @property
    def callers(self) -> str:
        """Return who may call it: `people` (and services with a scope), or only `services`."""
        return str(self.said.get("x-callers", "people"))

    @property
    def permission(self) -> str | None:
        """Return what a caller needs, if more than a token."""
        return self.said.get("x-permission")

    @property
    def schema(self) -> str | None:
        """Return the name of its JSON body's schema."""
        content = self.said.get("requestBody", {}).get("content", {})
        reference = content.get("application/json", {}).get("schema", {}).get("$ref", "")
        return reference.rpartition("/")[2] or None

    @property
    def ids(self) -> list[str]:
        """Return the names of the path's parameters that are UUIDs."""
        return [name for name, schema in self._parameters.items() if schema.get("format") == "uuid"]

    def url(self, identity: str = ABSENT, **ids: str) -> str:
        """Return its path with values for the parameters.

        Args:
            identity: Of each id that is not among `ids`, as it stands in a URL.
            **ids: Others, by the parameter's name.
        """

        def value(name: re.Match[str]) -> str:
            if name[1] in ids:
                return ids[name[1]]
            if name[1] in self.ids:
                return identity
            return "1" if self._parameters[name[1]].get("type") == "integer" else "some-name"

        return re.sub(r"\{(\w+)\}", value, self.path)

    @property
    def _parameters(self) -> dict[str, Mapping[str, Any]]:
        parameters = self.said.get("parameters", ())
        return {one["name"]: one["schema"] for one in parameters if one["in"] == "path"}


def operations(app: FastAPI, *prefixes: str) -> list[Operation]:
    """Return the operations of an app's document.

    Args:
        app: The app; it need not run.
        *prefixes: What their paths begin with; `/api/` by default.
    """
    return [
        Operation(method.upper(), path, said)
        for path, methods in app.openapi()["paths"].items()
        if path.startswith(prefixes or "/api/")
        for method, said in methods.items()
        if method in _METHODS
    ]
