"""What this service tells others. No token stands in an event."""

from __future__ import annotations

from dataclasses import dataclass

from mtenant_events import event_type


@event_type("user.created")
@dataclass(frozen=True)
class UserCreated:
    """There is a new account.

    Attributes:
        user_id: Its id.
        email: Its address.
        name: Of the person.
        role: In the tenant.
        invitation_id: Of the invitation that it was made with, if any.
    """

    user_id: str
    email: str
    name: str
    role: str
    invitation_id: str | None = None


@event_type("user.login")
@dataclass(frozen=True)
class UserLogin:
    """Somebody has logged in.

    Attributes:
        user_id: Who.
        session_id: The new session.
    """

    user_id: str
    session_id: str


@event_type("user.password_reset")
@dataclass(frozen=True)
class UserPasswordReset:
    """Somebody has chosen a new password by a mail; every session before is over.

    Attributes:
        user_id: Who.
    """

    user_id: str
