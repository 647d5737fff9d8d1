"""A replica: whether it may answer, which depends on how far it has come."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mtenant_database.routing.sight import Sight

if TYPE_CHECKING:
    from mtenant_database.database import Database
    from mtenant_database.routing.course import Course

_logger = logging.getLogger(__name__)


class Replica:
    """One replica, as it was last seen.

    Attributes:
        database: Its connections.
        sight: None until it has been seen, and while it does not answer.
        error: Why it does not answer.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.sight: Sight | None = None
        self.error = "it has not been asked yet"
        self._trouble = ""

    @property
    def name(self) -> str:
        """Host and port."""
        parameters = self.database.config.parameters()
        return f"{parameters.get('host', 'localhost')}:{parameters.get('port', '5432')}"

    @property
    def load(self) -> float:
        """How much of its pool is in use or waited for, by this process."""
        admission = self.database.admission
        return (admission.taken + admission.waiting) / admission.places

    def trouble(self, course: Course, max_lag: float) -> str:
        """Return why it may not answer at all; empty if it may."""
        sight, primary = self.sight, course.latest
        if sight is None:
            return f"does not answer: {self.error}"
        if primary is None:
            return "cannot be compared, because the primary has not been seen"
        if sight.system != primary.system:
            return "is no replica of this primary: it has another system identifier"
        if not sight.standby:
            return "is no replica: it takes writes"
        if sight.timeline != primary.timeline:
            return f"is on timeline {sight.timeline}, the primary on {primary.timeline}"
        lag = course.lag(sight.position)
        return f"lags {lag:.3g} s behind" if lag > max_lag else ""

    def serves(self, after: int, course: Course, max_lag: float) -> bool:
        """Tell whether it may answer, and has what was written up to a position."""
        return (
            self.sight is not None
            and self.sight.position >= after
            and self.database.breaker.state == "closed"
            and not self.trouble(course, max_lag)
        )

    def seen(self, sight: Sight, course: Course, max_lag: float) -> None:
        """Note a look at it."""
        self.sight = sight
        self._tell(self.trouble(course, max_lag))

    def lost(self, error: str) -> None:
        """Note that it does not answer."""
        self.sight, self.error = None, error
        self._tell(f"does not answer: {error}")

    def _tell(self, trouble: str) -> None:
        # Only a change is news, and another number is none.
        kind = trouble.partition(" ")[0]
        if kind == self._trouble:
            return
        self._trouble = kind
        if trouble:
            _logger.warning("replica %s %s: reads go elsewhere", self.name, trouble)
        else:
            _logger.info("replica %s answers reads", self.name)
