"""Who acts: what the columns of an audit are filled with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_actor: Final[ContextVar[str | None]] = ContextVar("mtenant_database_actor", default=None)


def current_actor() -> str | None:
    """Return who acts, or None."""
    return _actor.get()


@contextmanager
def acting_as(actor: str) -> Iterator[None]:
    """Say who acts in the block: a user's id, or a service's name; it goes along with tasks.

    >>> with acting_as("user-7"):
    ...     current_actor()
    'user-7'
    """
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)
