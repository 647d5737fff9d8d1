"""Ends of deliveries that no inbox row keeps, because there is none, or its database is away."""

from __future__ import annotations

from mtenant_events.inbox import History

_NOTHING = History()


class Tally:
    """Counts, while the process lives, what is known of deliveries by their place in the stream."""

    def __init__(self) -> None:
        self._known: dict[int, History] = {}

    def note(self, sequence: int, *, raised: bool) -> None:
        """Note the end of a delivery."""
        known = self.of(sequence)
        self._known[sequence] = History(known.attempts + raised, known.known_ends + 1)

    def of(self, sequence: int) -> History:
        """Return what was noted."""
        return self._known.get(sequence, _NOTHING)

    def forget(self, sequence: int) -> None:
        """Drop it: the message is settled for good."""
        self._known.pop(sequence, None)
