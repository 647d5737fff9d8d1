"""Ids of what this service makes."""

from __future__ import annotations

from uuid import UUID

from mtenant_events.uuid7 import uuid7_number


def new_id() -> UUID:
    """Return a UUID of version 7 (RFC 9562, 5.7): later ones are greater.

    >>> new_id().version
    7
    """
    return UUID(int=uuid7_number())
