"""Ids of this service: they sort by the time they were made (RFC 9562, 5.7)."""

from __future__ import annotations

from uuid import UUID

from mtenant_events.uuid7 import uuid7_number


def new_id() -> UUID:
    """Return a new one.

    >>> new_id().version
    7
    """
    return UUID(int=uuid7_number())
