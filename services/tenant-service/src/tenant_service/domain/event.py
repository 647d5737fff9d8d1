"""What this service tells others, and what it listens to. No token stands in an event."""

from __future__ import annotations

from dataclasses import dataclass

from mtenant_events import event_type


@event_type("tenant.created")
@dataclass(frozen=True)
class TenantCreated:
    """There is a new organization, and its owner can log in.

    Attributes:
        name: What it is called.
        subdomain: Where it is found.
        plan: Which plan it has.
        owner_id: The account of its first owner.
    """

    name: str
    subdomain: str
    plan: str
    owner_id: str


@event_type("tenant.updated")
@dataclass(frozen=True)
class TenantUpdated:
    """Something about an organization is not as before.

    Attributes:
        what: `name`, `subdomain`, `plan`, `status` or `settings`.
        version: Of the organization, or for `settings` of the settings: who keeps a copy compares.
        value: What it is now; None for settings, which are asked for.
    """

    what: str
    version: int
    value: str | None = None


@event_type("tenant.user_invited")
@dataclass(frozen=True)
class TenantUserInvited:
    """Somebody was invited; the mail is on its way.

    Attributes:
        invitation_id: Which invitation.
        email: Who.
        role: As what.
        invited_by: By whom.
    """

    invitation_id: str
    email: str
    role: str
    invited_by: str


@event_type("tenant.user_joined")
@dataclass(frozen=True)
class TenantUserJoined:
    """Somebody accepted an invitation.

    Attributes:
        invitation_id: Which one.
        user_id: The account.
        email: Its address.
        role: The role of the invitation.
    """

    invitation_id: str
    user_id: str
    email: str
    role: str


@event_type("user.created")
@dataclass(frozen=True)
class UserCreated:
    """There is a new account: what this service reads of auth-service's event.

    Attributes:
        user_id: Its id.
        invitation_id: Of the invitation that it was made with, if any.
    """

    user_id: str
    invitation_id: str | None = None
