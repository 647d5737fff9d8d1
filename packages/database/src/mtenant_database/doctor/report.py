"""What the doctor says: text for people, JSON for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Final

from mtenant_database.doctor.finding import SEVERITIES, Finding, Skipped

HEALTHY, UNSEEN, FOUND = 0, 1, 3

_SHOWN: Final = 5  # of one check at one severity; the rest is in the JSON


@dataclass(frozen=True)
class Report:
    """What came of an examination.

    Attributes:
        database: The database's name.
        server: The server's version.
        role: Who looked.
        tenants: How many schemas were taken for a tenant's.
        guessed: Whether that is because they are alike, and not by their names or a registry.
        findings: The worst first.
        clean: The checks that found nothing.
        not_applicable: The checks for which there is nothing to look at.
        unseen: The checks that could not look, or not in time: not the same as nothing found.
        seconds: How long it took.
    """

    database: str
    server: str
    role: str
    tenants: int
    guessed: bool
    findings: tuple[Finding, ...]
    clean: tuple[str, ...]
    not_applicable: tuple[Skipped, ...]
    unseen: tuple[Skipped, ...]
    seconds: float

    @property
    def exit_code(self) -> int:
        """3 when something was found, 1 when something could not be looked at, else 0."""
        if self.findings:
            return FOUND
        return UNSEEN if self.unseen else HEALTHY

    def to_json(self) -> str:
        """Return all of it as JSON, in plain ASCII."""
        said = asdict(self) | {
            "exit_code": self.exit_code,
            "findings": [asdict(one) | {"is_sql": one.is_sql} for one in self.findings],
            "seconds": round(self.seconds, 3),
        }
        return json.dumps(said, indent=2)

    def to_text(self) -> str:
        """Return the findings, the first few of each kind, and a line that sums them up."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        how = ", taken for them because they are alike" if self.guessed else ""
        yield f"{self.database} on PostgreSQL {self.server}, seen by {self.role}: {self.tenants} tenants' schemas{how}"
        yield ""
        for (_, check), group in groupby(self.findings, key=lambda one: (one.severity, one.check)):
            found = list(group)
            yield from (f"{one}\n" for one in found[:_SHOWN])
            if len(found) > _SHOWN:
                yield f"        {check}: {len(found) - _SHOWN} more like these, which --json lists\n"
        if self.not_applicable:
            yield "does not apply:"
            for why in dict.fromkeys(one.why for one in self.not_applicable):
                yield f"  {', '.join(one.check for one in self.not_applicable if one.why == why)}: {why}"
            yield ""
        if self.unseen:
            yield "COULD NOT LOOK:"
            yield from (f"  {one}" for one in self.unseen)
            yield ""
        yield self._summary()

    def _summary(self) -> str:
        counts = Counter(one.severity for one in self.findings)
        by = ", ".join(f"{counts[name]} {name}" for name in SEVERITIES if counts[name])
        parts = [f"{len(self.findings)} findings ({by})" if by else "nothing found"]
        parts.append(f"{len(self.clean)} checks clean")
        if self.not_applicable:
            parts.append(f"{len(self.not_applicable)} do not apply")
        if self.unseen:
            parts.append(f"{len(self.unseen)} could not look")
        return "; ".join([*parts, f"{self.seconds:.1f} s"])
