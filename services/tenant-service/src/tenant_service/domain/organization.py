"""Organizations: what a tenant is called, where it is found, what it may."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

OrganizationStatus = Literal[
    "provisioning", "active", "suspending", "suspended", "reactivating", "deleting"
]


@dataclass(frozen=True)
class Organization:
    """An organization; its id is the tenant's.

    Attributes:
        id: The tenant's id.
        name: What it is called.
        subdomain: Where it is found.
        plan: Which plan it has.
        status: How it is.
        exported_at: When its data was exported last.
        created_at: When it was registered.
        updated_at: When anything about it was changed last.
        version: Grows with every change.
    """

    id: str
    name: str
    subdomain: str
    plan: str
    status: OrganizationStatus
    exported_at: datetime | None
    created_at: datetime
    updated_at: datetime
    version: int
