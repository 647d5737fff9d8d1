"""Fieldsets: `?fields=id,name` lets a list answer with these members of its items alone.

Every route whose answer is a `Page` takes it; nothing has to be done for it. The database is asked for
whole rows all the same: what is spared is what travels to the client.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Self

from fastapi import Request, Response
from pydantic_core import from_json, to_json

from mtenant_chassis.pages import Page
from mtenant_errors import BadRequest

PARAMETER: Final = "fields"
_MEANING: Final = "only these members of the items, such as `{first}`; all of them without it"


class FieldsInvalid(BadRequest):
    """Something is asked for that the items do not have."""

    code, message = "FIELDS_INVALID", "fields are names with commas between them, of: {names}"


@dataclass(frozen=True)
class Fieldset:
    """The members that the items of a list have.

    Attributes:
        names: Their names, in the order of the model.
    """

    names: tuple[str, ...]

    @classmethod
    def of(cls, answer: Any) -> Self | None:
        """Return that of what a route answers with; None if it is no page.

        Args:
            answer: The type, such as `Page[Contact]`.
        """
        if not (isinstance(answer, type) and issubclass(answer, Page)):
            return None
        (item,) = answer.__pydantic_generic_metadata__["args"]
        return cls(tuple(item.model_fields))

    def asked(self, request: Request) -> frozenset[str] | None:
        """Return the members that a request wants; None for all of them.

        Raises:
            FieldsInvalid: There is no such member.
        """
        said = request.query_params.getlist(PARAMETER)
        if not said:
            return None
        wanted = frozenset(",".join(said).split(","))
        if not wanted.issubset(self.names):
            raise FieldsInvalid(names=", ".join(self.names))
        return wanted

    def parameter(self) -> dict[str, Any]:
        """Return what OpenAPI says of it."""
        return {
            "name": PARAMETER,
            "in": "query",
            "required": False,
            "style": "form",
            "explode": False,
            "description": _MEANING.format(first=",".join(self.names[:2])),
            "schema": {
                "type": "array",
                "items": {"type": "string", "enum": list(self.names)},
                "minItems": 1,
            },
        }


def select(response: Response, wanted: Iterable[str]) -> Response:
    """Return the answer of a list with these members of its items alone."""
    page = from_json(bytes(response.body))
    page["items"] = [
        {name: value for name, value in item.items() if name in wanted} for item in page["items"]
    ]
    body = to_json(page)
    response.body = body
    response.headers["content-length"] = str(len(body))
    return response
