"""Reasons why deals are lost: made, changed, taken out of use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from deal_service.domain.errors import LostReasonInUse, LostReasonNotFound, NameTaken
from deal_service.domain.identity import new_id
from deal_service.domain.lost_reason import LostReason
from deal_service.queries import lost_reasons
from mtenant_chassis import AuditTrail
from mtenant_chassis.etag import Condition
from mtenant_database import Tenant, Transaction


async def read(tenant: Tenant, reason_id: UUID) -> LostReason:
    """Return a reason.

    Raises:
        LostReasonNotFound: There is none.
    """
    found = await lost_reasons.get(tenant, reason_id)
    if found is None:
        raise LostReasonNotFound
    return found


async def create(tx: Transaction, key: str, name: str, *, audit: AuditTrail) -> LostReason:
    """Make a reason.

    Raises:
        NameTaken: Another one has the key.
    """
    made = await lost_reasons.add(tx, new_id(), key, name)
    if made is None:
        raise NameTaken(what="key")
    about = {"key": key, "name": name}
    await audit.record(tx, "lost_reason.created", "lost_reason", made.id, after=about)
    return made


async def change(
    tx: Transaction,
    reason_id: UUID,
    given: Mapping[str, Any],
    if_match: Condition,
    *,
    audit: AuditTrail,
) -> LostReason:
    """Give a reason another name, or take it out of use: deals that were lost for it keep it.

    Raises:
        LostReasonNotFound: There is none.
        VersionMismatch: It was changed since it was read.
    """
    before = await _lock(tx, reason_id, if_match)
    after = replace(before, **given)
    if after == before:
        return before
    made = await lost_reasons.change(tx, reason_id, after.name, is_active=after.is_active)
    said = {"name": before.name, "is_active": before.is_active}
    now = {"name": made.name, "is_active": made.is_active}
    await audit.record(tx, "lost_reason.changed", "lost_reason", reason_id, before=said, after=now)
    return made


async def delete(
    tx: Transaction, reason_id: UUID, if_match: Condition, *, audit: AuditTrail
) -> None:
    """Remove a reason for which no deal was ever lost.

    Raises:
        LostReasonNotFound: There is none.
        VersionMismatch: It was changed since it was read.
        LostReasonInUse: Deals were lost for it.
    """
    before = await _lock(tx, reason_id, if_match)
    if await lost_reasons.is_in_use(tx, reason_id):
        raise LostReasonInUse
    await lost_reasons.delete(tx, reason_id)
    about = {"key": before.key, "name": before.name}
    await audit.record(tx, "lost_reason.deleted", "lost_reason", reason_id, before=about)


async def _lock(tx: Transaction, reason_id: UUID, if_match: Condition) -> LostReason:
    found = await lost_reasons.lock(tx, reason_id)
    if found is None:
        raise LostReasonNotFound
    if_match.check(found.version)
    return found
