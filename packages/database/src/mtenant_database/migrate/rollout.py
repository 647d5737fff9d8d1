"""How a run goes through a fleet: who first, how many at once, when to stop."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

_PERCENT: Final = re.compile(r"([0-9]{1,3})%")


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """How a run goes through a fleet.

    Attributes:
        canary: How many tenants go first, or which; when one of them fails, no other is begun.
        wave: How many tenants come next, and next again; a wave ends before another begins.
        parallel: How many at once, each on its own connection.
        max_failures: How many may fail before no other is begun: a number, or `10%` of the plan.
    """

    canary: int | tuple[str, ...] = 1
    wave: int = 100
    parallel: int = 4
    max_failures: int | str = "10%"

    def __post_init__(self) -> None:
        if isinstance(self.canary, int) and self.canary < 0:
            raise ValueError(f"canary is a number of tenants or their ids, not {self.canary}")
        if self.wave < 1 or not 1 <= self.parallel <= 100:
            raise ValueError("a wave is 1 tenant or more, and 1 to 100 go at once")
        self.budget(0)

    def budget(self, tenants: int) -> int:
        """Return how many of so many tenants may fail.

        >>> Rollout(max_failures="10%").budget(205)
        20
        """
        if isinstance(self.max_failures, int):
            if self.max_failures < 0:
                raise ValueError(f"max_failures is 0 or more, not {self.max_failures}")
            return self.max_failures
        match = _PERCENT.fullmatch(self.max_failures)
        if match is None or int(match.group(1)) > 100:
            raise ValueError(f"max_failures is a number or 0% to 100%, not {self.max_failures!r}")
        return tenants * int(match.group(1)) // 100

    def groups(self, tenants: Sequence[str]) -> Iterator[tuple[bool, list[str]]]:
        """Return the groups in their order, and whether each is the canary.

        >>> list(Rollout(canary=1, wave=2).groups(["a", "b", "c", "d"]))
        [(True, ['a']), (False, ['b', 'c']), (False, ['d'])]
        """
        if isinstance(self.canary, int):
            first = list(tenants[: self.canary])
        else:
            first = [tenant for tenant in tenants if tenant in self.canary]
        if first:
            yield True, first
        rest = [tenant for tenant in tenants if tenant not in {*first}]
        for start in range(0, len(rest), self.wave):
            yield False, rest[start : start + self.wave]
