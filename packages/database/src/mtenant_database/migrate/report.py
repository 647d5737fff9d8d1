"""What came of a run over the fleet: a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Literal, Self

from mtenant_errors import AppError

Outcome = Literal["migrated", "repaired", "failed", "skipped"]

OK, ABORTED, PARTIAL = 0, 1, 3


@dataclass(frozen=True)
class Result:
    """What came of one tenant.

    Attributes:
        tenant: Its id.
        outcome: `skipped` was planned and not begun, because the run was aborted, or is gone.
        steps: The migrations that were made, as `contact 3 add_email (up)`.
        retries: How often a lock stood in the way.
        seconds: How long it took.
        code: The error's code, or None.
        sqlstate: The server's code, or None.
        error: The error's message, or None.
    """

    tenant: str
    outcome: Outcome
    steps: tuple[str, ...] = ()
    retries: int = 0
    seconds: float = 0.0
    code: str | None = None
    sqlstate: str | None = None
    error: str | None = None

    @classmethod
    def of_error(
        cls,
        tenant: str,
        error: AppError,
        *,
        steps: tuple[str, ...] = (),
        retries: int = 0,
        seconds: float = 0.0,
    ) -> Self:
        """Return what came of a tenant that failed by an error."""
        sqlstate = getattr(error, "sqlstate", None)
        return cls(tenant, "failed", steps, retries, seconds, error.code, sqlstate, error.message)


@dataclass
class Report:
    """What came of a run.

    Attributes:
        results: One for each tenant that the plan named, in the order of the plan.
        aborted: Why the run ended early, or None.
        seconds: How long it took.
    """

    results: list[Result] = field(default_factory=list)
    aborted: str | None = None
    seconds: float = 0.0

    @property
    def failed(self) -> list[Result]:
        """The tenants that are not where they should be because of an error."""
        return [result for result in self.results if result.outcome == "failed"]

    @property
    def exit_code(self) -> int:
        """0 when every tenant is where it should be, 1 when the run was aborted, 3 when some failed."""
        if self.aborted is not None:
            return ABORTED
        return PARTIAL if self.failed else OK

    def to_json(self) -> str:
        """Return all of it as JSON."""
        counts = Counter(result.outcome for result in self.results)
        return json.dumps(
            {
                "exit_code": self.exit_code,
                "aborted": self.aborted,
                "seconds": round(self.seconds, 3),
                "counts": dict(counts),
                "tenants": [asdict(result) for result in self.results],
            },
            indent=2,
        )

    def to_table(self) -> str:
        """Return the counts, the slowest tenants, and the failures grouped by their error."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        if not self.results and self.aborted is None:
            yield "nothing to do"
            return
        counts = Counter(result.outcome for result in self.results)
        said = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
        retries = sum(result.retries for result in self.results)
        yield f"{said}; {retries} retries; {self.seconds:.1f} s"
        slowest = sorted(self.results, key=lambda result: -result.seconds)[:10]
        if len(self.results) > 1 and (
            slow := [one for one in slowest if one.outcome == "migrated"]
        ):
            yield "slowest: " + ", ".join(f"{one.tenant} {one.seconds:.2f} s" for one in slow)
        groups: dict[tuple[str | None, str | None], list[Result]] = {}
        for result in self.failed:
            groups.setdefault((result.sqlstate, result.code), []).append(result)
        for (sqlstate, code), group in groups.items():
            names = ", ".join(sorted(result.tenant for result in group)[:5])
            more = f" and {len(group) - 5} more" if len(group) > 5 else ""
            yield f"{sqlstate or code} in {len(group)}: {names}{more}"
            yield f"    {group[0].error}"
        if self.aborted is not None:
            yield f"aborted: {self.aborted}"
