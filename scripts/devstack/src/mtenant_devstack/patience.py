"""Waiting for what comes by itself, for so long and no longer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from mtenant_devstack.errors import DevstackError

LOOK = 0.05  # seconds between two looks
TIMEOUT = 60.0  # seconds

Found = TypeVar("Found")


def until(look: Callable[[], Found | None], what: str) -> Found:
    """Look until there is something, and return it.

    Args:
        look: what is there; nothing yet if it is false.
        what: what one waits for, as "the import ends".

    Raises:
        DevstackError: it did not come in time.
    """
    deadline = time.monotonic() + TIMEOUT
    while not (found := look()):
        if time.monotonic() > deadline:
            raise DevstackError(f"not within {TIMEOUT:g} s: {what}")
        time.sleep(LOOK)
    return found
