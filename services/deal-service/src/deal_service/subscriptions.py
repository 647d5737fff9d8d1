"""What this service does when others tell of something; each once, in the transaction of the inbox."""

from __future__ import annotations

from uuid import UUID

from deal_service.domain.event import ContactDeleted
from deal_service.handlers.contacts import merge
from mtenant_chassis import AuditTrail, Chassis
from mtenant_database import Transaction
from mtenant_events import Event, Subscriptions


def subscriptions(chassis: Chassis) -> Subscriptions:
    """Return the handlers of a running app's events."""
    subs = Subscriptions()
    service = chassis.settings.service

    @subs.on(ContactDeleted, name="contact_merged")
    async def contact_merged(event: Event[ContactDeleted], tx: Transaction) -> None:
        """Let the deals of a contact that was merged have its survivor."""
        told = event.data
        if told.merged_into is None:
            return
        trail = AuditTrail(service, event.actor or f"service:{service}", event.correlation_id)
        await merge(tx, UUID(told.contact_id), UUID(told.merged_into), audit=trail)

    return subs
