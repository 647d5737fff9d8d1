"""API keys: a person lets a program act for them, within limits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from auth_service.domain.api_key import ApiKeyId, new_secret
from auth_service.domain.errors import ApiKeyNotFound
from auth_service.handlers import profile
from auth_service.queries import api_keys as queries
from auth_service.queries.api_keys import ApiKey
from mtenant_chassis import AuditTrail
from mtenant_database import Tenant, Transaction


@dataclass(frozen=True)
class MadeKey:
    """A new key, with what is never shown again.

    Attributes:
        key: What is shown later, too.
        client_id: With which the program asks for tokens.
        secret: Likewise.
    """

    key: ApiKey
    client_id: str
    secret: str


async def make(
    tx: Transaction,
    user_id: UUID,
    session: UUID,
    *,
    name: str,
    scopes: list[str],
    lifetime: timedelta | None,
    audit: AuditTrail,
) -> MadeKey:
    """Make a key. It never reaches further than its owner's role does when it is used.

    Args:
        tx: The open transaction.
        user_id: Whose.
        session: In which the owner asks.
        name: For the owner to know it by.
        scopes: What it may do.
        lifetime: None: until it is revoked.
        audit: The request's trail.

    Raises:
        InvalidToken: The session is over. Its token lives a little longer, and must not become a key
            that lives for ever.
    """
    await profile.read(tx, user_id, session)
    secret, digest = new_secret()
    key = await queries.add(
        tx, uuid4(), user_id, name=name, digest=digest, scopes=scopes, lifetime=lifetime
    )
    after = {"name": name, "scopes": scopes}
    await audit.record(tx, "api_key.created", "api_key", key.id, after=after)
    return MadeKey(key, ApiKeyId(tx.tenant or "", key.id).text, secret)


async def list_keys(tenant: Tenant, user_id: UUID, session: UUID) -> list[ApiKey]:
    """Return the keys of a user that work.

    Raises:
        InvalidToken: The session is over.
    """
    await profile.read(tenant, user_id, session)
    return await queries.of_user(tenant, user_id)


async def revoke(
    tx: Transaction, user_id: UUID, session: UUID, key_id: UUID, *, audit: AuditTrail
) -> None:
    """End a key; tokens that it got live up to ten minutes more where nobody asks.

    Raises:
        InvalidToken: The session is over.
        ApiKeyNotFound: The user has no such key.
    """
    await profile.read(tx, user_id, session)
    if not await queries.revoke(tx, key_id, user_id):
        raise ApiKeyNotFound
    await audit.record(tx, "api_key.revoked", "api_key", key_id)
