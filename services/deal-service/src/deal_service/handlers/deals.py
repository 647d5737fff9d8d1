"""Deals: begun, changed, moved from stage to stage, deleted and brought back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final
from uuid import UUID

from deal_service.domain.change import apply, difference, pipeline_of
from deal_service.domain.deal import Deal
from deal_service.domain.errors import DealNotFound, PipelineUnknown
from deal_service.domain.event import (
    DealClosedLost,
    DealClosedWon,
    DealCreated,
    DealStageChanged,
)
from deal_service.domain.identity import new_id
from deal_service.domain.pipeline import Pipeline
from deal_service.handlers.lookups import Known, Lookups
from deal_service.queries import contacts, deals, lost_reasons, pipelines, visits
from deal_service.queries.custom_fields import HOLDERS
from deal_service.settings import DealServiceSettings
from mtenant_chassis import AuditTrail, Chassis, Principal
from mtenant_chassis.etag import Condition
from mtenant_database import Tenant, Transaction

_CHANGEABLE: Final = (
    "name",
    "pipeline_id",
    "stage",
    "status",
    "probability",
    "amount_minor",
    "currency",
    "expected_close_date",
    "owner_id",
    "lost_reason",
    "lost_note",
    "custom",
)


@dataclass(frozen=True, kw_only=True)
class Opening:
    """A deal that somebody wants to begin.

    Attributes:
        name: What it is called.
        amount_minor: What it is worth.
        currency: Of the amount.
        pipeline_id: Where it goes through; None for the default one.
        stage: Where it begins; None for the first open stage.
        expected_close_date: When it is expected to be closed.
        owner_id: The user whose it is.
        contact_ids: Who belongs to it.
        custom: Values of the tenant's own fields.
    """

    name: str
    amount_minor: int
    currency: str
    pipeline_id: UUID | None
    stage: str | None
    expected_close_date: date | None
    owner_id: str | None
    contact_ids: Sequence[UUID]
    custom: Mapping[str, Any]


class Deals:
    """Begins and changes deals.

    Args:
        chassis: Of the running app.
        own: This service's settings.
        audit: Of the request.
    """

    def __init__(self, chassis: Chassis, own: DealServiceSettings, audit: AuditTrail) -> None:
        self._outbox = chassis.outbox
        self._lookups = Lookups(chassis, own)
        self._audit = audit

    async def create(self, tx: Transaction, who: Principal, new: Opening) -> Deal:
        """Begin a deal.

        Raises:
            Unprocessable: A pipeline, stage, contact or owner is not there, the stage not open, or
                values do not fit the tenant's fields.
        """
        known = await self._lookups.ask(
            tx.tenant or "",
            contacts=new.contact_ids,
            owners=[] if new.owner_id is None else [new.owner_id],
            caller=user_of(who),
        )
        return await self.open(tx, new, known)

    async def open(self, tx: Transaction, new: Opening, known: Known) -> Deal:
        """Begin a deal, once it is known who is there."""
        known.check_contacts(new.contact_ids)
        known.check_owner(new.owner_id)
        pipeline = await pipelines.hold(tx, new.pipeline_id)
        if pipeline is None:
            raise PipelineUnknown
        stage = pipeline.beginning(new.stage)
        row = deals.NewDeal(
            id=new_id(),
            name=new.name,
            pipeline_id=pipeline.id,
            stage_id=stage.id,
            probability=stage.probability,
            amount_minor=new.amount_minor,
            currency=new.currency,
            expected_close_date=new.expected_close_date,
            owner_id=new.owner_id,
            custom=await HOLDERS.checked(tx, "deal", new.custom),
        )
        await deals.add(tx, row)
        if new.contact_ids:
            await contacts.add_all(tx, row.id, new.contact_ids)
        made = await found(tx, row.id)
        await visits.enter(tx, new_id(), made, self._audit.actor)
        told = DealCreated(
            deal_id=str(made.id),
            name=made.name,
            pipeline_id=str(made.pipeline_id),
            stage=made.stage,
            amount_minor=made.amount_minor,
            currency=made.currency,
            owner_id=made.owner_id,
            contact_ids=[str(one) for one in made.contact_ids],
        )
        await self._outbox.add(tx, told, key=str(made.id))
        after = {name: getattr(made, name) for name in _CHANGEABLE}
        await self._audit.record(tx, "deal.created", "deal", made.id, after=after)
        return made

    async def change(
        self,
        tenant: Tenant,
        who: Principal,
        deal_id: UUID,
        given: Mapping[str, Any],
        if_match: Condition,
    ) -> Deal:
        """Change a deal, move it to another stage, or both.

        Args:
            tenant: Whose.
            who: The caller.
            deal_id: Which deal.
            given: The fields that the request has.
            if_match: Which version is meant.

        Raises:
            DealNotFound: There is none.
            VersionMismatch: It was changed since it was read.
            Unprocessable: A rule of the business forbids it.
        """
        known = Known()
        owner: str | None = given.get("owner_id")
        if owner is not None:
            # Whoever sends back what was read does not ask auth-service again.
            before = await found(tenant, deal_id)
            if before.owner_id == owner:
                known = Known(owners=frozenset({owner}))
            else:
                known = await self._lookups.ask(tenant.id, owners=[owner], caller=user_of(who))
        async with tenant.transaction() as tx:
            return await self.alter(tx, deal_id, given, if_match, known)

    async def alter(
        self,
        tx: Transaction,
        deal_id: UUID,
        given: Mapping[str, Any],
        if_match: Condition,
        known: Known,
    ) -> Deal:
        """Change a deal, once it is known who is there."""
        before = await deals.lock_one(tx, deal_id)
        if before is None:
            raise DealNotFound
        if_match.check(before.version)
        if given.get("owner_id") != before.owner_id:
            known.check_owner(given.get("owner_id"))
        here = await self._pipeline(tx, before.pipeline_id)
        target = pipeline_of(before, given)
        there = here if target == here.id else await self._pipeline(tx, target)
        if "custom" in given:
            given = {**given, "custom": await _merged(tx, before, given["custom"])}
        reasons = [one.key for one in await lost_reasons.active(tx)] if _may_be_lost(given) else []
        after = apply(before, given, here=here, there=there, reasons=reasons)
        if after == before:
            return before
        if after.stage_id != before.stage_id:
            after = await self._move(tx, before, after)
        await deals.put(tx, after)
        await self._audit.record(
            tx,
            "deal.changed" if after.stage_id == before.stage_id else "deal.moved",
            "deal",
            deal_id,
            before=difference(after, before, _CHANGEABLE),
            after=difference(before, after, _CHANGEABLE),
        )
        return await found(tx, deal_id)

    async def delete(self, tx: Transaction, deal_id: UUID, if_match: Condition) -> None:
        """Delete a deal; it can be brought back.

        Raises:
            DealNotFound: There is none.
            VersionMismatch: It was changed since it was read.
        """
        before = await deals.lock_one(tx, deal_id)
        if before is None:
            raise DealNotFound
        if_match.check(before.version)
        await deals.mark_deleted(tx, deal_id, deleted=True)
        said = {name: getattr(before, name) for name in _CHANGEABLE}
        await self._audit.record(tx, "deal.deleted", "deal", deal_id, before=said)

    async def restore(self, tx: Transaction, deal_id: UUID) -> Deal:
        """Bring a deleted deal back.

        Raises:
            DealNotFound: There is none that is deleted.
        """
        if not await deals.lock(tx, [deal_id], deleted=True):
            raise DealNotFound
        await deals.mark_deleted(tx, deal_id, deleted=False)
        await self._audit.record(tx, "deal.restored", "deal", deal_id)
        return await found(tx, deal_id)

    async def purge(self, tx: Transaction, deal_id: UUID) -> None:
        """Remove a deleted deal for good, with its history and what was noted of it.

        Raises:
            DealNotFound: There is none that is deleted.
        """
        if not await deals.lock(tx, [deal_id], deleted=True):
            raise DealNotFound
        await deals.purge(tx, deal_id)
        await self._audit.erase(tx, "deal", [deal_id])
        await self._audit.record(tx, "deal.purged", "deal", deal_id)

    async def _move(self, tx: Transaction, before: Deal, after: Deal) -> Deal:
        # Not the time of the transaction, which may have begun before the visit that ends here.
        at = await deals.moment(tx, before.stage_entered_at)
        after = replace(
            after, stage_entered_at=at, closed_at=None if after.status == "open" else at
        )
        await visits.leave(tx, before.id, at)
        await visits.enter(tx, new_id(), after, self._audit.actor)
        events: list[object] = [
            DealStageChanged(
                deal_id=str(after.id),
                from_stage=before.stage,
                to_stage=after.stage,
                probability=after.probability,
                amount_minor=after.amount_minor,
                currency=after.currency,
            )
        ]
        closed: dict[str, Any] = {
            "deal_id": str(after.id),
            "name": after.name,
            "amount_minor": after.amount_minor,
            "currency": after.currency,
            "owner_id": after.owner_id,
            "contact_ids": [str(one) for one in after.contact_ids],
        }
        if after.status == "won":
            events.append(DealClosedWon(**closed))
        elif after.status == "lost":
            events.append(DealClosedLost(**closed, lost_reason=str(after.lost_reason)))
        # Their order is that of the moves: the row of the deal is locked.
        await self._outbox.add_many(tx, events, key=str(after.id))
        return after

    async def _pipeline(self, tx: Transaction, pipeline: UUID) -> Pipeline:
        held = await pipelines.hold(tx, pipeline)
        if held is None:
            raise PipelineUnknown
        return held


async def found(on: Tenant | Transaction, deal_id: UUID) -> Deal:
    """Return a deal.

    Raises:
        DealNotFound: There is none.
    """
    deal = await deals.get(on, deal_id)
    if deal is None:
        raise DealNotFound
    return deal


def user_of(who: Principal) -> str | None:
    """Return the id of the person who calls; None for a service."""
    return who.id if who.kind == "user" else None


async def _merged(tx: Transaction, before: Deal, asked: Mapping[str, Any] | None) -> dict[str, Any]:
    values = {} if asked is None else {**before.custom, **asked}
    return await HOLDERS.checked(tx, "deal", values, before.custom)


def _may_be_lost(given: Mapping[str, Any]) -> bool:
    return "stage" in given or "lost_reason" in given
