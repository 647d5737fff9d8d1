"""How the outbox stands, and the statements that tell; no driver is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

STATUS: Final = (
    "SELECT count(*), count(*) FILTER (WHERE delayed_until IS NOT NULL),"
    " coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 FROM eventing.outbox"
)
"""How many rows wait, how many of them have failed before, and the age of the oldest in seconds."""

RELAY: Final = "SELECT set_config('mtenant.relay', 'on', true)"
"""What row level security lets see rows, for the transaction."""


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """How the outbox stands.

    Attributes:
        pending: How many rows wait.
        failed: How many of them could not be published at least once.
        oldest_age: The age of the oldest in seconds; 0.0 if none waits.
    """

    pending: int
    failed: int
    oldest_age: float
