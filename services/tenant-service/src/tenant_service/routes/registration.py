"""Routes for those who have no organization yet."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Depends, Header, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from mtenant_chassis import (
    CurrentChassis,
    RateLimit,
    Router,
    by_address,
    limited,
    public,
    raises,
)
from mtenant_chassis.idempotency import key_of
from tenant_service.domain.person import Email, Name, NewPassword
from tenant_service.domain.registration import Application, Owner, Registration
from tenant_service.domain.subdomain import Subdomain, is_reserved
from tenant_service.handlers.registration import Registrar
from tenant_service.settings import TenantServiceSettings

REGISTER = RateLimit("register", most=30, seconds=3600)
"""A registration makes a schema, so an address has few of them."""

ASK = RateLimit("register-ask", most=120, seconds=60)


class NewOwner(BaseModel):
    """The first user of an organization."""

    model_config = ConfigDict(extra="forbid", strict=True)
    email: Email
    name: Name
    password: NewPassword


class NewOrganization(BaseModel):
    """What is registered."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: Name
    subdomain: Subdomain
    owner: NewOwner


class LoginContext(BaseModel):
    """What the owner logs in with, besides the password."""

    tenant: str
    subdomain: str
    email: Email


class Registered(BaseModel):
    """A registration, and what to log in with once it is `done`."""

    id: UUID
    status: Literal["running", "done"]
    tenant: str
    owner_id: UUID
    login: LoginContext


class RegistrationStatus(BaseModel):
    """How far a registration is; `abandoning` and `failed` leave nothing behind."""

    id: UUID
    status: Literal["running", "abandoning", "done", "failed"]
    error: str | None = Field(description="the code of what failed last")


class Availability(BaseModel):
    """Whether a subdomain is to be had at this moment."""

    subdomain: str
    available: bool
    reason: Literal["taken", "reserved"] | None


async def client_key(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=255,
            pattern=r"^[\x21-\x7e]+$",
            description="chosen by the client; the same request with the same key goes on with it",
        ),
    ] = None,
) -> str | None:
    """Return the client's key of a registration; the chassis's keys are of a tenant, and here is none.

    Raises:
        IdempotencyKeyInvalid: The field is no key, or is there twice.
    """
    return key_of(request)


def registration_router(own: TenantServiceSettings) -> Router:
    """Return the routes of registration."""
    router = Router(tags=["registration"])

    @router.post(
        "/api/tenants/register",
        status_code=201,
        dependencies=[public(), limited(REGISTER, by=by_address)],
        responses={
            **raises(409),
            202: {
                "model": Registered,
                "description": "Accepted: something that it needs is away; it is finished later",
            },
        },
    )
    async def register(
        asked: NewOrganization,
        key: Annotated[str | None, Depends(client_key)],
        response: Response,
        chassis: CurrentChassis,
    ) -> Registered:
        """Register an organization: its schema, and its owner's account.

        Send an `Idempotency-Key`, and the same request again goes on where the last one stopped. A
        registration that is finished without the client asks its owner by mail to choose a password.
        """
        owner = Owner(asked.owner.email, asked.owner.name, asked.owner.password)
        application = Application(asked.name, asked.subdomain, owner, key)
        one = await Registrar(chassis, own).register(application)
        response.headers["location"] = f"/api/tenants/registrations/{one.id}"
        if one.state != "done":
            response.status_code = 202
        return _registered(one, asked.owner.email)

    @router.get(
        "/api/tenants/registrations/{registration_id}",
        dependencies=[public(), limited(ASK, by=by_address)],
    )
    async def status(registration_id: UUID, chassis: CurrentChassis) -> RegistrationStatus:
        """Tell how far a registration is; for a day after it is over."""
        one = await Registrar(chassis, own).find(registration_id)
        return RegistrationStatus(id=one.id, status=one.state, error=one.error)

    @router.get(
        "/api/tenants/subdomains/{subdomain}",
        dependencies=[public(), limited(ASK, by=by_address)],
    )
    async def availability(
        subdomain: Annotated[Subdomain, Path()], chassis: CurrentChassis
    ) -> Availability:
        """Tell whether a subdomain is to be had; only registering takes it."""
        if is_reserved(subdomain):
            return Availability(subdomain=subdomain, available=False, reason="reserved")
        free = await Registrar(chassis, own).is_free(subdomain)
        return Availability(subdomain=subdomain, available=free, reason=None if free else "taken")

    return router


def _registered(one: Registration, email: str) -> Registered:
    login = LoginContext(tenant=one.tenant, subdomain=one.subdomain, email=email)
    return Registered(
        id=one.id,
        status="done" if one.state == "done" else "running",
        tenant=one.tenant,
        owner_id=one.owner_id,
        login=login,
    )
