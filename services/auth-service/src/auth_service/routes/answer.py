"""What several routes answer with."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import Depends, Response
from pydantic import BaseModel

from auth_service.handlers.tokens import Issued
from auth_service.queries import users
from mtenant_chassis.auth import Role

Status = Literal["pending", "active", "disabled"]


class User(BaseModel):
    """An account, without anything that opens it."""

    id: UUID
    email: str
    name: str
    role: Role
    status: Status
    email_verified: bool
    created_at: datetime
    updated_at: datetime
    version: int

    @classmethod
    def of(cls, row: users.User) -> Self:
        """Return what is shown of a row."""
        return cls(
            **cls._more(row),
            id=row.id,
            email=row.email,
            name=row.name,
            role=row.role,  # type: ignore[arg-type]  # the table's CHECK has the same words
            status=row.status,  # type: ignore[arg-type]  # likewise
            email_verified=row.email_verified_at is not None,
            created_at=row.created_at,
            updated_at=row.updated_at,
            version=row.version,
        )

    @classmethod
    def _more(cls, row: users.User) -> dict[str, Any]:
        return {}


class ListedUser(User):
    """An account in a list. A login is no change of the account, so that what has an ETag is without."""

    last_login_at: datetime | None

    @classmethod
    def _more(cls, row: users.User) -> dict[str, Any]:
        return {"last_login_at": row.last_login_at}


class AccessTokenAnswer(BaseModel):
    """An access token (RFC 6749, 5.1)."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the name of a scheme
    expires_in: int

    @classmethod
    def of_client(cls, issued: Issued) -> AccessTokenAnswer:
        """Return what a client is told."""
        return cls(access_token=issued.access_token, expires_in=issued.expires_in)


class TokenAnswer(AccessTokenAnswer):
    """An access token, and what gets the next one."""

    refresh_token: str

    @classmethod
    def of(cls, issued: Issued) -> TokenAnswer:
        """Return what a person is told."""
        return cls(
            access_token=issued.access_token,
            refresh_token=issued.refresh_token or "",
            expires_in=issued.expires_in,
        )


async def _no_store(response: Response) -> None:
    response.headers["cache-control"] = "no-store"  # RFC 6749, 5.1


NoStore = Annotated[None, Depends(_no_store)]
"""Says that nobody keeps the answer, as a parameter of a route whose answer has a token."""
