"""Idempotency-Key: a write that is sent twice happens once, and is answered alike.

The answer is stored in the transaction of the write itself, in the tenant's schema, so that there is
no moment at which one of both is there. What is stored is found again by principal, route and key for
a day (as the draft draft-ietf-httpapi-idempotency-key-header-07 leaves to the server).

- The same request again: the stored answer, with `Idempotent-Replayed: true`.
- The first one still runs: 409 with `Retry-After`, by an advisory lock that a crash sets free.
- Another request with the same key: 422.
- An error below 500 is an answer too: what was written is rolled back to a savepoint, and the error is
  stored. One that says that the same request may succeed later (`retryable`) is not.

Not for routes whose answers hold a token: those would be stored.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import timedelta
from hashlib import blake2b, sha256
from typing import Any, Final

from fastapi import Request, Response

from mtenant_chassis.mark import Mark
from mtenant_database import Transaction
from mtenant_errors import AppError, BadRequest, Conflict, Unprocessable

FIELD: Final = "idempotency-key"

LIFETIME: Final = timedelta(hours=24)
"""How long an answer is kept."""

_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
_MEANING: Final = "chosen by the client; the same request with the same key happens once"
_LOCK: Final = "select pg_try_advisory_xact_lock(%s)"
_FIND: Final = (
    "select fingerprint, status, headers, body from idempotency_keys"
    " where service = %s and key = %s and created_at > now() - %s"
)
_KEEP: Final = (
    "with old as (delete from idempotency_keys where (service, key) in (select service, key"
    " from idempotency_keys where service = %(service)s and created_at < now() - %(lifetime)s"
    " and key <> %(key)s order by created_at limit 20 for update skip locked))"
    " insert into idempotency_keys (service, key, fingerprint, status, headers, body)"
    " values (%(service)s, %(key)s, %(fingerprint)s, %(status)s, %(headers)s, %(body)s)"
    " on conflict (service, key) do update set fingerprint = excluded.fingerprint,"
    " status = excluded.status, headers = excluded.headers, body = excluded.body, created_at = now()"
)


class IdempotencyKeyInvalid(BadRequest):
    """The field is no key."""

    code, message = (
        "IDEMPOTENCY_KEY_INVALID",
        "Idempotency-Key is 1 to 255 visible ASCII characters",
    )


class RequestInProgress(Conflict):
    """The first request with this key has not been answered yet."""

    code, message = "REQUEST_IN_PROGRESS", "the first request with this key is still being answered"
    retryable = True


class IdempotencyKeyReused(Unprocessable):
    """The key belongs to another request."""

    code, message = (
        "IDEMPOTENCY_KEY_REUSED",
        "this key was used for another request: take a new one",
    )


PARAMETER: Final[dict[str, Any]] = {
    "name": FIELD,
    "in": "header",
    "required": False,
    "schema": {
        "type": "string",
        "minLength": 1,
        "maxLength": 255,
        "pattern": r"^[\x21-\x7e]+$",
        "description": _MEANING,
        "title": "Idempotency-Key",
    },
    "description": _MEANING,
}
"""The field, as OpenAPI has it."""


class Idempotent(Mark):
    """Says that a route offers Idempotency-Key."""


def idempotent() -> Any:
    """Offer Idempotency-Key; for `dependencies=[...]` of a route that has a `Tx`."""
    return Idempotent()


def key_of(request: Request) -> str | None:
    """Return the request's key, or None.

    Raises:
        IdempotencyKeyInvalid: The field is no key, or is there twice.
    """
    given = request.headers.getlist(FIELD)
    if not given:
        return None
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        raise IdempotencyKeyInvalid
    return given[0]


@dataclass(frozen=True)
class Guard:
    """One request with a key.

    Attributes:
        service: Whose route it is.
        key: A digest of principal, route and key.
        fingerprint: A digest of the request.
    """

    service: str
    key: bytes
    fingerprint: bytes

    @classmethod
    async def of(cls, request: Request, key: str, *, service: str, route: str) -> Guard:
        """Return the guard of a request; its body is read."""
        principal = request.scope["state"]["principal"]
        owner = "\0".join((principal.key, request.method, route, key))
        asked = "\0".join(
            (
                request.method,
                request.scope["path"],
                request.scope["query_string"].decode("latin-1"),
                request.headers.get("content-type", ""),
                request.headers.get("if-match", ""),
            )
        )
        fingerprint = sha256(asked.encode() + b"\0" + await request.body()).digest()
        return cls(service, sha256(owner.encode()).digest(), fingerprint)

    async def begin(self, tx: Transaction) -> Response | None:
        """Return the stored answer; None if there is none and this request is the first.

        Raises:
            RequestInProgress: Another one runs.
            IdempotencyKeyReused: The key belongs to another request.
        """
        about = b"\0".join(
            (b"idempotency", (tx.tenant or "").encode(), self.service.encode(), self.key)
        )
        lock = int.from_bytes(blake2b(about, digest_size=8).digest(), "big", signed=True)
        if not await tx.fetch_value(_LOCK, [lock]):
            raise RequestInProgress(retry_after=1)
        # A statement of its own: its snapshot is younger than the lock.
        found = await tx.fetch_optional(_FIND, [self.service, self.key, LIFETIME])
        if found is None:
            return None
        fingerprint, status, headers, body = found
        if bytes(fingerprint) != self.fingerprint:
            raise IdempotencyKeyReused
        response = Response(bytes(body), status)
        response.raw_headers = [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in (*headers, ("idempotent-replayed", "true"))
        ]
        return response

    async def keep(
        self, tx: Transaction, status: int, headers: list[tuple[str, str]], body: bytes
    ) -> None:
        """Store an answer with what was written; some that are too old go."""
        await tx.execute(
            _KEEP,
            {
                "service": self.service,
                "key": self.key,
                "fingerprint": self.fingerprint,
                "status": status,
                "headers": json.dumps(headers),
                "body": body,
                "lifetime": LIFETIME,
            },
        )


def answer_of(response: Response) -> tuple[int, list[tuple[str, str]], bytes]:
    """Return what is kept of an answer.

    Raises:
        TypeError: It is streamed, so that there is nothing to keep.
    """
    body = getattr(response, "body", None)
    if not isinstance(body, bytes | bytearray | memoryview):
        raise TypeError("an idempotent route answers with a body, not with a stream")
    headers = [
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers
    ]
    return response.status_code, headers, bytes(body)


def is_final(err: AppError) -> bool:
    """Tell whether an error is the answer to the same request next time, too."""
    return not err.remote and 400 <= err.status_code < 500 and not err.retryable
