"""The five levels, and how other people's levels fall onto them."""

from __future__ import annotations

from typing import Final, Literal

LevelName = Literal["debug", "info", "warning", "error", "critical"]

DEBUG: Final = 10
INFO: Final = 20
WARNING: Final = 30
ERROR: Final = 40
CRITICAL: Final = 50

NAMES: Final[dict[int, LevelName]] = {
    DEBUG: "debug",
    INFO: "info",
    WARNING: "warning",
    ERROR: "error",
    CRITICAL: "critical",
}
_NUMBERS: Final = {name: number for number, name in NAMES.items()} | {
    "warn": WARNING,
    "fatal": CRITICAL,
}
CHOICES: Final = ", ".join(NAMES.values())


def number_of(name: object) -> int:
    """Return the number of a level, with the numbers of the standard `logging` module.

    Case and surrounding space do not matter; `warn` and `fatal` are taken for `warning` and
    `critical`.

    Raises:
        ValueError: there is no such level, as there is none by the number; the message lists those
            there are.
    """
    number = _NUMBERS.get(name.strip().lower()) if isinstance(name, str) else None
    if number is None:
        raise ValueError(f"no log level {repr(name)[:66]}: use one of {CHOICES}")
    return number


def nearest(number: int) -> int:
    """Return the highest of the five levels that is not above `number`; below all, debug.

    >>> NAMES[nearest(25)]
    'info'
    """
    return min(max(number // 10 * 10, DEBUG), CRITICAL)
