"""Many deals at once: each for itself done or refused, all of it committed together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from deal_service.domain.deal import Deal
from deal_service.domain.errors import TooManyContacts
from deal_service.handlers.deals import Deals, Opening, user_of
from deal_service.handlers.lookups import Known, Lookups
from deal_service.queries import deals
from deal_service.settings import DealServiceSettings
from mtenant_chassis import AuditTrail, Chassis, Principal
from mtenant_chassis.etag import Condition, etag
from mtenant_database import Transaction
from mtenant_errors import AppError

MOST_CONTACTS: Final = 200
"""Different contacts of all new deals of a request: each one is a question to contact-service."""


@dataclass(frozen=True)
class Alteration:
    """A change of one deal.

    Attributes:
        id: Which.
        version: Which version is meant; None for whichever there is.
        given: The fields that the request has.
    """

    id: UUID
    version: int | None
    given: Mapping[str, Any]


@dataclass(frozen=True)
class Done:
    """What became of an item.

    Attributes:
        status: As the route for one deal answers.
        deal: As it is now.
        error: Why nothing was done.
    """

    status: int
    deal: Deal | None = None
    error: AppError | None = None


class Bulk:
    """Does many things in one transaction.

    Args:
        chassis: Of the running app.
        own: This service's settings.
        audit: Of the request.
    """

    def __init__(self, chassis: Chassis, own: DealServiceSettings, audit: AuditTrail) -> None:
        self._deals = Deals(chassis, own, audit)
        self._lookups = Lookups(chassis, own)

    async def run(
        self, tx: Transaction, who: Principal, items: Sequence[Opening | Alteration]
    ) -> list[Done]:
        """Do one thing after the other; one that is refused leaves nothing behind.

        Raises:
            TooManyContacts: The new deals have too many together.
            AppError: What is no answer to an item: the database is away, another service is.
        """
        contacts: set[UUID] = set()
        owners: set[str] = set()
        for item in items:
            if isinstance(item, Opening):
                contacts.update(item.contact_ids)
            owner = item.owner_id if isinstance(item, Opening) else item.given.get("owner_id")
            owners.update([] if owner is None else [owner])
        if len(contacts) > MOST_CONTACTS:
            raise TooManyContacts(what="these deals have", most=MOST_CONTACTS)
        known = await self._lookups.ask(
            tx.tenant or "", contacts=contacts, owners=owners, caller=user_of(who)
        )
        # All locks in one order, or two of these would wait for each other.
        await deals.lock(tx, [item.id for item in items if isinstance(item, Alteration)])
        return [await self._one(tx, item, known) for item in items]

    async def _one(self, tx: Transaction, item: Opening | Alteration, known: Known) -> Done:
        try:
            async with tx.transaction():
                if isinstance(item, Opening):
                    return Done(201, await self._deals.open(tx, item, known))
                tags = None if item.version is None else frozenset({etag(item.version)})
                condition = Condition(tags)
                return Done(200, await self._deals.alter(tx, item.id, item.given, condition, known))
        except AppError as exc:
            if exc.status_code >= 500 or exc.retryable:
                raise
            return Done(exc.status_code, error=exc)
