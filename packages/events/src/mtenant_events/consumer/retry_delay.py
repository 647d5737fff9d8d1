"""How long a delivery waits that is to come again."""

from __future__ import annotations

import random
from typing import Final

LONGEST: Final = 60.0
"""Seconds at most."""


def retry_delay(first: float, attempts: int) -> float:
    """Return the seconds until the next attempt, after so many that failed.

    It doubles, so that what is down is left alone, and a random part of it is taken, so that events that
    failed together do not come back together. The delay goes with each nak: a consumer's own `backoff`
    does not apply to naks, and replaces its `ack_wait` (NATS documentation, consumers).
    """
    longest = min(LONGEST, first * 2.0 ** min(max(attempts, 1) - 1, 32))
    return random.uniform(longest / 2, longest)  # noqa: S311 - no secret
