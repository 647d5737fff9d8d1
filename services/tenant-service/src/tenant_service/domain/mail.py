"""The mails of this service. The token stands behind a #, which no server gets to see."""

from __future__ import annotations

from datetime import datetime

from mtenant_chassis import Mail
from tenant_service.domain.token import InvitationToken


def invitation_mail(
    email: str,
    token: InvitationToken,
    *,
    organization: str,
    role: str,
    expires_at: datetime,
    app_url: str | None,
) -> Mail:
    """Return the mail to somebody who is invited.

    Args:
        email: Who.
        token: What they accept with.
        organization: The name of whoever invites.
        role: As what.
        expires_at: Until when.
        app_url: Where the front end is; without one the mail has the bare token.
    """
    where = token.text if app_url is None else f"{app_url}/accept-invitation#token={token.text}"
    return Mail(
        to=email,
        subject=f"You are invited to {organization}",
        text=(
            f"{organization} invites you as {role}. Accept until"
            f" {expires_at:%d %B %Y, %H:%M} UTC:\n\n{where}\n\n"
            "If you do not know them, do nothing: without this no account is made.\n"
        ),
    )
