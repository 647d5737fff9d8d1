"""What this service does when others tell of something."""

from __future__ import annotations

from uuid import UUID

from mtenant_chassis import Chassis
from mtenant_database import Transaction
from mtenant_events import Event, Subscriptions
from tenant_service.domain.event import TenantUpdated, UserCreated
from tenant_service.handlers.invitations import Invitations
from tenant_service.handlers.settings import forget_settings
from tenant_service.queries import settings as rows
from tenant_service.settings import TenantServiceSettings


def subscriptions(chassis: Chassis, own: TenantServiceSettings) -> Subscriptions:
    """Return the handlers of a running app's events."""
    subs = Subscriptions()

    @subs.on(UserCreated, name="user_created")
    async def user_created(event: Event[UserCreated], tx: Transaction) -> None:
        """Give a new user the default preferences; an invitation that it came by is accepted."""
        await rows.first_preferences(tx, event.data.user_id)
        if (invitation := _uuid(event.data.invitation_id)) is not None:
            await Invitations(chassis, own).joined(tx, invitation, event.data.user_id)

    @subs.on(TenantUpdated, name="settings_changed")
    async def settings_changed(event: Event[TenantUpdated]) -> None:
        """Forget settings that another process changed, and did not live to forget."""
        if event.data.what == "settings":
            await forget_settings(chassis, event.tenant, event.data.version)

    @subs.on(TenantUpdated, name="settings_changed_here", broadcast=True)
    async def settings_changed_here(event: Event[TenantUpdated]) -> None:
        """The same for what each process keeps for itself where there is no shared cache."""
        if event.data.what == "settings":
            await forget_settings(chassis, event.tenant, event.data.version)

    return subs


def _uuid(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        return None
