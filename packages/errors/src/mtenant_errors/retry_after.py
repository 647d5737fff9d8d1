"""Retry-After: seconds in a program, seconds or a date in a header (RFC 9110, 10.2.3)."""

from __future__ import annotations

import math
import time
from datetime import UTC
from email.utils import parsedate_to_datetime

CAP = 86_400.0
"""The longest wait in seconds: one day. A peer cannot make a caller wait for a year."""


def seconds(value: object) -> float | None:
    """Return a wait between 0 and `CAP` seconds, or None for what is no wait at all."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        return None
    return float(min(max(value, 0.0), CAP))


def header(wait: float) -> str:
    """Return the field value: whole seconds, rounded up, so that nobody comes back too early."""
    return str(math.ceil(wait))


def parse(field: str) -> float | None:
    """Return the wait in seconds that a field value asks for; None if it is in neither form."""
    field = field.strip()[:64]  # enough for each form, and `int` refuses thousands of digits
    if field.isascii() and field.isdigit():
        return seconds(int(field))
    try:
        moment = parsedate_to_datetime(field)
        if moment.tzinfo is None:  # the asctime form names no zone; it is UTC (RFC 9110, 5.6.7)
            moment = moment.replace(tzinfo=UTC)
        return seconds(moment.timestamp() - time.time())
    except (ValueError, TypeError, OverflowError, IndexError, OSError):
        return None
