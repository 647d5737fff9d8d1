"""What this service does when it hears of something: its own events, of other processes of it."""

from __future__ import annotations

from contact_service.domain.event import ContactDeleted, ContactUpdated
from contact_service.handlers.lookup import Lookup
from mtenant_chassis import Chassis
from mtenant_events import Event, Subscriptions


def subscriptions(chassis: Chassis) -> Subscriptions:
    """Return the handlers of a running app's events."""
    subs = Subscriptions()

    async def forget(event: Event[ContactUpdated] | Event[ContactDeleted]) -> None:
        lookup = Lookup(chassis, event.tenant)
        await lookup.forget_version(event.data.contact_id, event.data.version)

    @subs.on(ContactUpdated, ContactDeleted, name="contact_changed")
    async def contact_changed(event: Event[ContactUpdated] | Event[ContactDeleted]) -> None:
        """Forget a contact that was changed while the shared cache was away."""
        await forget(event)

    @subs.on(ContactUpdated, ContactDeleted, name="contact_changed_here", broadcast=True)
    async def contact_changed_here(event: Event[ContactUpdated] | Event[ContactDeleted]) -> None:
        """The same for what each process keeps for itself where there is no shared cache."""
        await forget(event)

    return subs
