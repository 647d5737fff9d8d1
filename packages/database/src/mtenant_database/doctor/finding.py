"""What a check says: a finding with its cure, or why it could not look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Severity = Literal["high", "medium", "low"]
SEVERITIES: Final[tuple[Severity, ...]] = ("high", "medium", "low")


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with the database.

    Names in it are quoted, and without characters that would move a terminal's cursor.

    Attributes:
        check: Which check found it.
        severity: `high`: a tenant's rows are within reach of another tenant or of anybody. `medium`:
            one more mistake, of a program or of a person, and they are. `low`: a tenant cannot be
            migrated, dumped or dropped like any other.
        where: The role, schema or object.
        what: What is wrong with it, and why it matters.
        cure: One line. If it ends in a semicolon it is SQL, to be run as a role that may; else it is
            what to do.
    """

    check: str
    severity: Severity
    where: str
    what: str
    cure: str

    @property
    def is_sql(self) -> bool:
        """Whether the cure can be sent to the server as it is."""
        return self.cure.endswith(";")

    def __str__(self) -> str:
        return f"{self.severity:<6}  {self.check}  {self.where}\n  {self.what}\n  cure: {self.cure}"


@dataclass(frozen=True)
class Skipped:
    """A check that did not look, or not to the end.

    Attributes:
        check: Which.
        why: Why not.
        cure: What lets it look, in the form of `Finding.cure`; None where there is nothing to look at,
            or where the server's own words have to do.
    """

    check: str
    why: str
    cure: str | None = None

    def __str__(self) -> str:
        return f"{self.check}: {self.why}" + (f"\n    cure: {self.cure}" if self.cure else "")


class NothingToLookAt(Exception):
    """The check does not apply to this database; the text says why."""


class NotAllowed(Exception):
    """The role may not see what the check needs; `cure` is the grant."""

    def __init__(self, why: str, cure: str) -> None:
        super().__init__(why)
        self.cure = cure
