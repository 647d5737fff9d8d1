"""Activities: noted, changed, and told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from communication_service.domain.activity import Activity, Occurrence, Related
from communication_service.domain.errors import ActivityNotFound
from communication_service.domain.event import ActivityLogged
from communication_service.domain.identity import new_id
from communication_service.handlers.directory import Directory
from communication_service.queries import activity as rows
from mtenant_chassis import AuditTrail, Chassis
from mtenant_chassis.etag import Condition
from mtenant_database import Transaction, Verbs


class Activities:
    """Keeps what happened.

    Args:
        chassis: Of the running app.
    """

    def __init__(self, chassis: Chassis) -> None:
        self._chassis = chassis

    async def get(self, on: Verbs, activity: UUID) -> Activity:
        """Return an activity.

        Raises:
            ActivityNotFound: There is none.
        """
        found = await rows.get(on, activity)
        if found is None:
            raise ActivityNotFound
        return found

    async def note(self, tx: Transaction, audit: AuditTrail, what: Occurrence) -> Activity:
        """Note what a person says that happened.

        Raises:
            RelatedNotFound: It would stand in the timeline of nobody.
        """
        await Directory(self._chassis, tx.tenant or "").check(what.related)
        return await self.log(tx, audit, what)

    async def log(
        self, tx: Transaction, audit: AuditTrail, what: Occurrence, activity: UUID | None = None
    ) -> Activity:
        """Note what happened, and tell others."""
        which = activity or new_id()
        await rows.add(tx, which, what, audit.actor)
        related = what.related
        told = ActivityLogged(
            activity_id=str(which),
            kind=what.kind,
            contact_ids=[str(one) for one in related.contact_ids],
            company_ids=[str(one) for one in related.company_ids],
            deal_ids=[str(one) for one in related.deal_ids],
            email_id=None if what.email_id is None else str(what.email_id),
        )
        await self._chassis.outbox.add(tx, told, key=which)
        await audit.record(tx, "activity.logged", "activity", which, after={"kind": what.kind})
        return await self.get(tx, which)

    async def change(
        self,
        tx: Transaction,
        audit: AuditTrail,
        activity: UUID,
        changes: Mapping[str, Any],
        if_match: Condition,
    ) -> Activity:
        """Change what is noted; what `changes` does not name stays.

        Raises:
            ActivityNotFound: There is none.
            VersionMismatch: It was changed since it was read.
            RelatedNotFound: It would stand in the timeline of nobody.
        """
        named = {name: value for name, value in changes.items() if name.endswith("_ids")}
        await Directory(self._chassis, tx.tenant or "").check(Related(**named))
        found = await rows.lock(tx, activity)
        if found is None:
            raise ActivityNotFound
        if_match.check(found.version)
        related = Related(found.contact_ids, found.company_ids, found.deal_ids)
        about = {name: value for name, value in changes.items() if name not in named}
        before = Occurrence(
            kind=found.kind,
            subject=found.subject,
            body=found.body,
            direction=found.direction,
            duration_minutes=found.duration_minutes,
            occurred_at=found.occurred_at,
        )
        after = replace(before, **about, related=replace(related, **named))
        await rows.change(tx, activity, after)
        await audit.record(
            tx, "activity.changed", "activity", activity, after={"changed": sorted(changes)}
        )
        return await self.get(tx, activity)

    async def delete(
        self, tx: Transaction, audit: AuditTrail, activity: UUID, if_match: Condition
    ) -> None:
        """Remove it from all timelines.

        Raises:
            ActivityNotFound: There is none.
            VersionMismatch: It was changed since it was read.
        """
        found = await rows.lock(tx, activity)
        if found is None:
            raise ActivityNotFound
        if_match.check(found.version)
        await rows.delete(tx, activity)
        await audit.record(
            tx,
            "activity.deleted",
            "activity",
            activity,
            before={"kind": found.kind, "subject": found.subject},
        )
