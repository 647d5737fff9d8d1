"""What a router knows of its servers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mtenant_database.health import HealthStatus


@dataclass(frozen=True)
class ReplicaStatus:
    """A replica, as a router sees it.

    Attributes:
        name: Host and port.
        usable: It answers reads.
        reason: Why it does not; empty if it does.
        lag: How far it is behind the primary, in seconds, as of the last looks at both; None if unknown.
        position: Up to where it has replayed the log; None if unknown.
        health: Its own health check.
    """

    name: str
    usable: bool
    reason: str
    lag: float | None
    position: str | None
    health: HealthStatus

    def to_dict(self) -> dict[str, Any]:
        """Return the status for a health endpoint."""
        return {
            "name": self.name,
            "usable": self.usable,
            "reason": self.reason,
            "lag": self.lag,
            "position": self.position,
            "health": self.health.to_dict(),
        }


@dataclass(frozen=True)
class RouterStatus:
    """The primary and its replicas.

    Attributes:
        primary: The primary's health check.
        replicas: The replicas, in the order in which they were given.
    """

    primary: HealthStatus
    replicas: tuple[ReplicaStatus, ...]

    @property
    def healthy(self) -> bool:
        """Whether the primary answers; without replicas everything works, if slower."""
        return self.primary.healthy

    def to_dict(self) -> dict[str, Any]:
        """Return the status for a health endpoint."""
        return {
            "healthy": self.healthy,
            "primary": self.primary.to_dict(),
            "replicas": [replica.to_dict() for replica in self.replicas],
        }
