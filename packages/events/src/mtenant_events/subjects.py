"""Subjects: `<prefix>.evt.<tenant>.<entity>.<action>.<partition>`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from zlib import crc32

from mtenant_events.errors import BadMessage, Reason
from mtenant_events.event import check_type
from mtenant_events.tenant_id import InvalidTenantId, check_tenant_id

PARTITIONS: Final = 16
"""How many partitions there are. To change it would change the order of what is under way."""


@dataclass(frozen=True, slots=True)
class Address:
    """What a subject says of its event."""

    tenant: str
    type: str
    partition: int


def partition_of(key: str) -> int:
    """Return the partition of a key: 0 to 15, the same on every machine.

    >>> partition_of("deal-7")
    0
    """
    return crc32(key.encode()) % PARTITIONS


def subject_of(prefix: str, tenant: str, type_: str, key: str) -> str:
    """Return the subject of an event. Its parts must be checked, as those of an `Event` are.

    >>> subject_of("crm", "acme", "deal.closed_won", "deal-7")
    'crm.evt.acme.deal.closed_won.0'
    """
    return f"{prefix}.evt.{tenant}.{type_}.{crc32(key.encode()) % PARTITIONS}"


def subjects_of(prefix: str, *, tenant: str = "*", type_: str = "*.*", partition: str = "*") -> str:
    """Return the subject with stars for what is left open, as a filter.

    Raises:
        InvalidTenantId: `tenant` is neither a tenant's id nor a star.

    >>> subjects_of("crm", type_="deal.closed_won")
    'crm.evt.*.deal.closed_won.*'
    """
    if tenant != "*":
        check_tenant_id(tenant)
    return f"{prefix}.evt.{tenant}.{type_}.{partition}"


def agrees(prefix: str, subject: str, tenant: str, type_: str) -> bool:
    """Tell whether a subject is one of a tenant and a type, in any partition."""
    start = f"{prefix}.evt.{tenant}.{type_}."
    return subject.startswith(start) and subject[len(start) :] in _PARTITIONS


def address_of(prefix: str, subject: str) -> Address:
    """Read a subject.

    Raises:
        BadMessage: It is no subject of an event: `SUBJECT_MISMATCH`, or `INVALID_TENANT`.
    """
    root = f"{prefix}.evt."
    tokens = subject[len(root) :].split(".") if subject.startswith(root) else []
    if len(tokens) != 4:
        raise BadMessage(Reason.SUBJECT_MISMATCH, f"not {root}<tenant>.<type>.<partition>")
    tenant, entity, action, partition = tokens
    try:
        check_tenant_id(tenant)
        type_ = check_type(f"{entity}.{action}")
        number = _PARTITIONS[partition]
    except InvalidTenantId as exc:
        raise BadMessage(Reason.INVALID_TENANT, exc.internal) from exc
    except (ValueError, KeyError) as exc:
        raise BadMessage(Reason.SUBJECT_MISMATCH, f"not {root}<tenant>.<type>.<partition>") from exc
    return Address(tenant, type_, number)


_PARTITIONS: Final = {str(number): number for number in range(PARTITIONS)}
