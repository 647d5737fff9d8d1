"""What several routes read from a request: the tenant, the device, the person."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Final
from uuid import UUID

from fastapi import Request
from pydantic import BaseModel, ConfigDict, StringConstraints

from auth_service.domain.errors import LoginRequired, TenantMissing
from auth_service.handlers.login import Device
from auth_service.service import Service
from mtenant_chassis import given
from mtenant_chassis.auth.access import principal_of
from mtenant_database import TenantNotFound

TenantId = Annotated[str, StringConstraints(pattern="^[a-z0-9][a-z0-9_]{0,55}$")]
"""A tenant's id in a request."""

Name = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$"
    ),
]
"""A person's or a key's name: one line."""

_LONGEST_AGENT: Final = 256
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Body(BaseModel):
    """A request's body. Fields that are not known are refused: a `role` in it is no oversight."""

    model_config = ConfigDict(extra="forbid", strict=True)


async def tenant_of(request: Request, service: Service, named: str | None) -> str:
    """Return the id of the tenant that a request without a token is about.

    Args:
        request: Its host name may be a subdomain.
        service: Knows whose subdomain it is.
        named: What the body says, which comes first.

    Raises:
        TenantMissing: Nothing names one.
        TenantNotFound: The subdomain is nobody's.
    """
    if named is not None:
        return named
    base = service.settings.base_domain
    host = request.url.hostname or ""
    label = host.removesuffix(f".{base}") if base else host
    if base is None or label == host or not _LABEL.fullmatch(label):
        raise TenantMissing
    tenant = await service.tenants.by_subdomain(label)
    if tenant is None:
        raise TenantNotFound
    return tenant


async def _device(request: Request) -> Device:
    agent = request.headers.get("user-agent")
    if agent is not None:
        agent = _CONTROL.sub(" ", agent)[:_LONGEST_AGENT]
    return Device(request.client.host if request.client else "", agent)


CurrentDevice = Annotated[Device, given(_device)]
"""Where a request comes from, as a parameter of a route."""


@dataclass(frozen=True)
class Person:
    """Somebody who is logged in.

    Attributes:
        id: The user's.
        session: The login's.
    """

    id: UUID
    session: UUID


async def _person(request: Request) -> Person:
    principal = await principal_of(request)
    # A key's token has scopes: with a key nobody makes further keys, or changes the password.
    if principal.kind != "user" or principal.scopes is not None or principal.session is None:
        raise LoginRequired
    return Person(UUID(principal.id), UUID(principal.session))


CurrentPerson = Annotated[Person, given(_person)]
"""The person who asks, as a parameter of a route; no API key, no service."""
