"""The profile: what a person sees and says of themselves."""

from __future__ import annotations

from uuid import UUID

from auth_service.queries import users
from auth_service.queries.users import User
from mtenant_chassis import AuditTrail
from mtenant_chassis.auth import InvalidToken
from mtenant_chassis.etag import Condition
from mtenant_database import Transaction, Verbs


async def read(db: Verbs, user_id: UUID, session: UUID) -> User:
    """Return the caller's account.

    Raises:
        InvalidToken: The session is over, or the account disabled: the token lives a little longer, and
            whoever has it sees and changes nothing of the person any more.
    """
    user = await users.in_session(db, user_id, session)
    if user is None:
        raise InvalidToken(internal="its session is over")
    return user


async def rename(
    tx: Transaction,
    user_id: UUID,
    session: UUID,
    name: str,
    *,
    if_match: Condition,
    audit: AuditTrail,
) -> User:
    """Set another name.

    Raises:
        InvalidToken: The session is over.
        VersionMismatch: The profile is not the one that was read.
    """
    await users.lock(tx, user_id)
    found = await read(tx, user_id, session)
    if_match.check(found.version)
    user = await users.rename(tx, user_id, name)
    before, after = {"name": found.name}, {"name": name}
    await audit.record(tx, "user.renamed", "user", user_id, before=before, after=after)
    return user
