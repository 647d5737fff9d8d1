"""Entity tags: what was read, what may be changed, what need not be sent again (RFC 9110, 8.8.3 and 13).

A version is a number that each change of a row adds one to. A route answers with `set_etag(response,
version)`, and a change asks for `If-Match`:

```python
@router.patch("/{contact_id}", dependencies=[requires("contacts:write")])
async def change(contact_id: UUID, patch: Patch, tx: Tx, if_match: IfMatch, response: Response) -> Contact:
    contact = await queries.lock(tx, contact_id)
    if_match.check(contact.version)         # 412 if it is not the one that was read
```

`RequiredIfMatch` is the same and answers 428 to a request without the field. A `GET` whose answer
has an `ETag` is answered with 304 where `If-None-Match` names it; the route does nothing for that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import Annotated, Final

from fastapi import Depends, Header, Response
from starlette.requests import Request

from mtenant_errors import BadRequest, PreconditionFailed, PreconditionRequired

_TAG: Final = re.compile(r'\s*(W/)?("[\x21\x23-\x7e\x80-\xff]*")\s*')
_FORM: Final = r'^(\*|(W/)?"[!#-~]*"(, *(W/)?"[!#-~]*")*)$'  # for those who read the document
_KEPT: Final = ("cache-control", "content-location", "date", "etag", "expires", "link", "vary")


class IfMatchInvalid(BadRequest):
    """The field is no list of entity tags."""

    code, message = "IF_MATCH_INVALID", "If-Match is no list of entity tags"


class VersionMismatch(PreconditionFailed):
    """The resource is not the one that was read."""

    code, message = "VERSION_MISMATCH", "it has been changed since it was read: read it again"


class IfMatchMissing(PreconditionRequired):
    """The change must say which version it is of."""

    code, message = "IF_MATCH_REQUIRED", "say by If-Match which version is to be changed"


def etag(version: int) -> str:
    """Return the entity tag of a version.

    >>> etag(3)
    '"v3"'
    """
    return f'"v{version}"'


def set_etag(response: Response, version: int) -> None:
    """Say which version an answer is."""
    response.headers["etag"] = etag(version)


def set_static(response: Response, body: bytes, *, seconds: int, private: bool = True) -> None:
    """Say that an answer may be kept for a while, and whether it is still the same by its content.

    Args:
        response: The answer.
        body: What decides whether it is the same: its content, or anything that changes with it.
        seconds: For how long nobody need ask again.
        private: False if it is the same for everybody and without a token.
    """
    response.headers["etag"] = f'"{blake2b(body, digest_size=12).hexdigest()}"'
    scope = "private" if private else "public"
    response.headers["cache-control"] = f"{scope}, max-age={seconds}"
    if private:
        response.headers["vary"] = "Authorization"


@dataclass(frozen=True)
class Condition:
    """What `If-Match` says.

    Attributes:
        tags: The strong tags; None without the field. A weak one never matches (RFC 9110, 13.1.1).
        any: Whether it is `*`: any version, as long as there is one.
    """

    tags: frozenset[str] | None = None
    any: bool = False

    @property
    def given(self) -> bool:
        """Whether there is such a field."""
        return self.any or self.tags is not None

    def check(self, version: int) -> None:
        """Let a change of this version pass.

        Raises:
            VersionMismatch: It is not the one that was read (412).
        """
        if self.tags is not None and etag(version) not in self.tags:
            raise VersionMismatch


def parse_tags(field: str) -> list[tuple[bool, str]] | None:
    """Return the tags of a field, each with whether it is weak; None if it is no list of them."""
    tags, at = [], 0
    while True:
        match = _TAG.match(field, at)
        if match is None:
            return None
        tags.append((match[1] is not None, match[2]))
        at = match.end()
        if at == len(field):
            return tags
        if field[at] != ",":
            return None
        at += 1


async def condition(
    if_match: Annotated[
        str | None,
        Header(
            description='the ETag that was read, such as `"v1"`: the change is of that version only',
            json_schema_extra={"pattern": _FORM},
        ),
    ] = None,
) -> Condition:
    """Return the condition of a request.

    Raises:
        IfMatchInvalid: The field is no list of tags.
    """
    if if_match is None:
        return Condition()
    if if_match.strip() == "*":
        return Condition(any=True)
    # An empty list is one (RFC 9110, 5.6.1), and names no version.
    tags = parse_tags(if_match) if if_match.strip() else []
    if tags is None:
        raise IfMatchInvalid
    return Condition(frozenset(tag for weak, tag in tags if not weak))


async def required_condition(found: Annotated[Condition, Depends(condition)]) -> Condition:
    """Return the condition of a request that must have one.

    Raises:
        IfMatchMissing: It has none (428).
    """
    if not found.given:
        raise IfMatchMissing
    return found


IfMatch = Annotated[Condition, Depends(condition)]
"""The request's `If-Match`, as a parameter of a route."""

RequiredIfMatch = Annotated[Condition, Depends(required_condition)]
"""The same, and 428 without it."""


def not_modified(request: Request, response: Response) -> Response:
    """Return a 304 if the client has what the answer holds, and else the answer."""
    if request.method not in {"GET", "HEAD"} or response.status_code != 200:
        return response
    asked, own = request.headers.get("if-none-match"), response.headers.get("etag")
    if asked is None or own is None:
        return response
    tags = parse_tags(asked) or []
    # The weak comparison: for a read the opaque part alone counts (RFC 9110, 13.1.2).
    if asked.strip() != "*" and own.removeprefix("W/") not in {tag for _, tag in tags}:
        return response
    kept = {name: value for name, value in response.headers.items() if name.lower() in _KEPT}
    return Response(status_code=304, headers=kept)
