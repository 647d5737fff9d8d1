"""What is wrong with a configuration: all of it, in one error."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from mtenant_errors import InternalServerError

ProblemKind = Literal["missing", "invalid", "unknown", "conflict", "unreadable"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. It never holds the value of a secret.

    Attributes:
        key: The setting, as a dotted path; or the file, where a whole file is wrong.
        kind: `missing`, `invalid` (does not parse or is out of range), `unknown` (nobody reads
            it), `conflict` (two places disagree) or `unreadable` (a file, or text that is no
            UTF-8).
        message: What is wrong, in words.
        expected: The type and range that were expected, in words.
        origin: Where the value stands: a file and line, or the name of a variable.
        suggestion: What was probably meant, or what to do.
    """

    key: str
    kind: ProblemKind
    message: str
    expected: str | None = None
    origin: str | None = None
    suggestion: str | None = None

    def __str__(self) -> str:
        lines = [f"{self.key}: {self.message}"]
        if self.origin:
            lines.append(f"    at {self.origin}")
        if self.suggestion:
            lines.append(f"    {self.suggestion}")
        return "\n".join(lines)


class ConfigError(InternalServerError):
    """The configuration is wrong; `problems` has every reason, and `str()` is the report.

    The report is for operators: an HTTP body made from this error says only that the
    configuration is wrong.

    Attributes:
        problems: Every problem that was found, in the order of the settings.
    """

    code, message = "CONFIG_INVALID", "the configuration is wrong"

    problems: tuple[Problem, ...]

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(internal=_report(self.problems))

    def __str__(self) -> str:
        return _report(self.problems)


def _report(problems: tuple[Problem, ...]) -> str:
    count = f"{len(problems)} problems" if len(problems) != 1 else "1 problem"
    lines = [f"{count} with the configuration"]
    for problem in problems:
        lines.extend(f"  {line}" for line in str(problem).split("\n"))
    return "\n".join(lines)
