"""Plans: how much an organization may have of what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from tenant_service.domain.errors import PlanLimitReached

PlanName = Literal["free", "team", "enterprise"]


@dataclass(frozen=True)
class Plan:
    """What an organization may have.

    Attributes:
        name: Of the plan.
        users: Accounts and open invitations together; None for no limit.
    """

    name: PlanName
    users: int | None

    def check_users(self, taken: int) -> None:
        """Let one more user in.

        Args:
            taken: How many there are.

        Raises:
            PlanLimitReached: It is as many as the plan has.
        """
        if self.users is not None and taken >= self.users:
            raise PlanLimitReached(limit="users", most=self.users, plan=self.name)


PLANS: Final[dict[str, Plan]] = {
    plan.name: plan for plan in (Plan("free", 5), Plan("team", 50), Plan("enterprise", None))
}

FIRST: Final[PlanName] = "free"
"""The plan of a new organization."""


def plan_named(name: str) -> Plan:
    """Return a plan; one that was taken from the list is kept as the smallest.

    >>> plan_named("team").users
    50
    """
    return PLANS.get(name, PLANS[FIRST])
