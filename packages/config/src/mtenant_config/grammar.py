"""The grammars: which texts, and which typed values of a file, are an int, a bool, a duration ...

Text is text wherever it stands: `"5"` in a TOML file is read as `5` in a variable is, so that a
setting can move from one to the other. A value that a file gives a type must have the right one:
`true` is no int, `1` is no bool, and `1.10` is no string, because it has already become 1.1.

Every function takes the value and returns it parsed, or raises `Refused`, which never holds it.
"""

from __future__ import annotations

import json
import math
import re
from datetime import timedelta
from fractions import Fraction

from mtenant_config.secret import Secret

MAX_NUMBER_TEXT = 64
"""Longest text of a number, in characters. `int()` takes time quadratic in the length."""


class Refused(ValueError):
    """A value that a grammar does not accept.

    Attributes:
        expected: What the grammar accepts, in words.
        hint: What was probably meant. Made from the value: not to be shown for a secret.
    """

    def __init__(self, expected: str, hint: str | None = None) -> None:
        super().__init__(f"expected {expected}")
        self.expected = expected
        self.hint = hint


class ByteSize(int):
    """A number of bytes, written with its unit.

    >>> ByteSize(512 * 1024 * 1024)
    ByteSize('512MiB')
    >>> ByteSize(1500) + 1
    1501
    """

    __slots__ = ()

    def __str__(self) -> str:
        for unit, factor in reversed(_BINARY_UNITS.items()):
            if self and int(self) % factor == 0:
                return f"{int(self) // factor}{unit}"
        return f"{int(self)}B"

    def __repr__(self) -> str:
        return f"ByteSize('{self}')"

    def __format__(self, spec: str) -> str:
        return format(int(self), spec) if spec else str(self)


# --- text ---------------------------------------------------------------------------------------


def parse_str(value: object) -> str:
    """Accept any text, the empty one too, exactly as it is written."""
    if isinstance(value, str):
        return value
    raise Refused("a string", _quoted(value))


def parse_secret(value: object) -> Secret:
    """Accept any text, and make it opaque."""
    if isinstance(value, Secret):
        return value
    if isinstance(value, str):
        return Secret(value)
    raise Refused("a string")


def _quoted(value: object) -> str | None:
    return "put it in quotes" if isinstance(value, bool | int | float) else None


# --- numbers and truth --------------------------------------------------------------------------

_INT = re.compile(r"-?[0-9]+")
_FLOAT = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_TRUE = frozenset({"1", "on", "true", "yes"})
_FALSE = frozenset({"0", "false", "no", "off"})
_ALMOST_TRUE = frozenset({"enable", "enabled", "t", "y"})
_ALMOST_FALSE = frozenset({"disable", "disabled", "f", "n", "none"})


def parse_int(value: object) -> int:
    """Accept `-?[0-9]+` in ASCII digits, and an int of a file.

    Nothing that Python's `int()` takes beyond that: no `1_000`, ` 12 `, `+5` or digits of other
    scripts; nor `0x10` or `12.0`.
    """
    if type(value) is int:
        return value
    if isinstance(value, str) and len(value) <= MAX_NUMBER_TEXT and _INT.fullmatch(value):
        return int(value)
    raise Refused("an int", _did_you_mean(_almost_number(value, _INT)))


def parse_float(value: object) -> float:
    """Accept `-?[0-9]+`, with decimals and an exponent if wanted; an int or float of a file.

    No `nan`, no infinity, and nothing too large for a float. `.5` and `5.` lack a digit.
    """
    number = math.nan
    if type(value) is float:
        number = value
    elif type(value) is int or (
        isinstance(value, str) and len(value) <= MAX_NUMBER_TEXT and _FLOAT.fullmatch(value)
    ):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
    if math.isfinite(number):
        return number
    raise Refused("a number", _did_you_mean(_almost_number(value, _FLOAT)))


def parse_bool(value: object) -> bool:
    """Accept `true false 1 0 yes no on off` in any case, and a bool of a file.

    The empty text is neither: a variable that lost its value must not switch something off.
    """
    if isinstance(value, bool):
        return value
    word = value.lower() if isinstance(value, str) and value.isascii() else ""
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    stripped = word.strip()
    meant = None
    if stripped in _TRUE | _ALMOST_TRUE or value == 1:
        meant = "true"
    elif stripped in _FALSE | _ALMOST_FALSE or value == 0:
        meant = "false"
    raise Refused("a bool (true, false, 1, 0, yes, no, on or off)", _did_you_mean(meant))


def _almost_number(value: object, grammar: re.Pattern[str]) -> str | None:
    if not isinstance(value, str) or len(value) > MAX_NUMBER_TEXT:
        return None
    cleaned = value.strip(" \t\r\n+").replace("_", "").replace(",", "")
    cleaned = f"0{cleaned}" if cleaned.startswith(".") else cleaned
    cleaned = cleaned.removesuffix(".")
    if grammar is _INT and re.fullmatch(r"-?[0-9]+\.0+", cleaned):
        cleaned = cleaned.partition(".")[0]
    return cleaned if cleaned != value and grammar.fullmatch(cleaned) else None


def _did_you_mean(text: str | None) -> str | None:
    return f"did you mean '{text}'?" if text else None


# --- durations ----------------------------------------------------------------------------------

_MICROSECONDS = {
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
    "us": 1,
}
_DURATION = re.compile(
    r"(?P<sign>-?)(?=[0-9])"
    + "".join(rf"(?:(?P<{unit}>[0-9]+(?:\.[0-9]+)?){unit})?" for unit in _MICROSECONDS)
)
_AMOUNT = re.compile(r"\s*(?P<number>-?[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>[A-Za-z]*)\s*")
_UNIT_WORDS = {"": "s", "min": "m", "mins": "m", "msec": "ms", "hr": "h", "hrs": "h"} | {
    f"{word}{plural}": unit
    for word, unit in {
        "day": "d", "hour": "h", "minute": "m", "second": "s", "sec": "s", "millisecond": "ms",
    }.items()
    for plural in ("", "s")
}  # fmt: skip


def parse_duration(value: object) -> timedelta:
    """Accept numbers with units from large to small, each at most once: `1h30m`, `1.5h`, `250ms`.

    Units: `d` (24 h), `h`, `m`, `s`, `ms`, `us` or `µs`. A leading `-` is accepted; a `Range` says
    whether it may be. `0` needs no unit, every other number does. Finer than a microsecond is
    refused, because a timedelta cannot hold it.
    """
    if isinstance(value, timedelta):
        return value
    duration = _read_duration(value) if isinstance(value, str) else None
    if duration is None:
        hint = _did_you_mean(_almost_duration(value))
        raise Refused("a duration such as '30s', '5m' or '1h30m'", hint)
    return duration


def _read_duration(text: str) -> timedelta | None:
    # U+00B5 and U+03BC look the same, and keyboards have either.
    text = text.replace("\u00b5s", "us").replace("\u03bcs", "us")
    found = _DURATION.fullmatch("0s" if text == "0" else text[: MAX_NUMBER_TEXT + 1])
    if not found or len(text) > MAX_NUMBER_TEXT:
        return None
    total = sum(
        Fraction(amount) * _MICROSECONDS[unit]
        for unit, amount in found.groupdict().items()
        if unit != "sign" and amount
    )
    if total.denominator != 1:
        return None
    try:
        return timedelta(microseconds=int(-total if found["sign"] else total))
    except OverflowError:
        return None


def _almost_duration(value: object) -> str | None:
    text = str(value) if type(value) in (int, float) else value
    found = _AMOUNT.fullmatch(text) if isinstance(text, str) else None
    if not found:
        return None
    unit = found["unit"].lower()
    unit = _UNIT_WORDS.get(unit, unit)
    meant = f"{found['number']}{unit}"
    return meant if meant != value and _read_duration(meant) is not None else None


def format_duration(duration: timedelta) -> str:
    """Return the shortest text that `parse_duration` reads back as the same duration.

    >>> format_duration(timedelta(minutes=90)), format_duration(timedelta(0))
    ('1h30m', '0s')
    """
    left = duration // timedelta(microseconds=1)
    sign, left = ("-", -left) if left < 0 else ("", left)
    parts = []
    for unit, size in _MICROSECONDS.items():
        amount, left = divmod(left, size)
        if amount:
            parts.append(f"{amount}{unit}")
    return sign + "".join(parts) if parts else "0s"


# --- sizes --------------------------------------------------------------------------------------

_BINARY_UNITS = {f"{letter}iB": 1024**power for power, letter in enumerate("KMGTP", 1)}
_DECIMAL_UNITS = {f"{letter}B": 1000**power for power, letter in enumerate("KMGTP", 1)}
_BYTE_UNITS = {"B": 1, "kB": 1000} | _DECIMAL_UNITS | _BINARY_UNITS
_SIZE = re.compile(rf"(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<unit>{'|'.join(_BYTE_UNITS)})")


def parse_bytes(value: object) -> ByteSize:
    """Accept a number with a unit: `512MiB`, `1.5GB`, `100B`; the whole must be whole bytes.

    `KiB MiB GiB TiB PiB` are powers of 1024, `kB` or `KB`, `MB GB TB PB` powers of 1000
    (IEC 80000-13), and case counts, because `Mb` is a megabit. `0` needs no unit.
    """
    if isinstance(value, ByteSize):
        return value
    size = _read_size(value) if isinstance(value, str) else None
    if size is None:
        raise Refused("a size such as '512MiB' or '10MB'", _did_you_mean(_almost_size(value)))
    return size


def _read_size(text: str) -> ByteSize | None:
    found = _SIZE.fullmatch("0B" if text == "0" else text[: MAX_NUMBER_TEXT + 1])
    if not found or len(text) > MAX_NUMBER_TEXT:
        return None
    size = Fraction(found["number"]) * _BYTE_UNITS[found["unit"]]
    return ByteSize(int(size)) if size.denominator == 1 else None


def _almost_size(value: object) -> str | None:
    text = str(value) if type(value) is int else value
    found = _AMOUNT.fullmatch(text) if isinstance(text, str) else None
    if not found:
        return None
    unit = found["unit"].upper()
    if unit in ("", "B", "BYTE", "BYTES"):
        unit = "B"
    elif unit.endswith(("I", "IB")) or len(unit) == 1:
        unit = f"{unit[0]}iB"
    meant = f"{found['number']}{unit}"
    return meant if meant != value and _read_size(meant) is not None else None


# --- lists --------------------------------------------------------------------------------------


def split_list(value: object) -> list[object]:
    """Accept `a, b, c` or a JSON array, and an array of a file. The items are still unparsed.

    Spaces around a comma do not count. An empty item, as in `a,,b` or after a last comma, is
    refused, and so is the empty text: the empty list is `[]`. An item that holds a comma needs the
    JSON form, and so does a list whose first item begins with `[`.
    """
    if isinstance(value, list | tuple):
        return list(value)
    if isinstance(value, str):
        text = value.strip(" \t\r\n")
        if text.startswith("["):
            items = _json_array(text)
            if items is not None:
                return items
            raise Refused("a list", "what begins with '[' must be a JSON array")
        words = [item.strip(" \t\r\n") for item in text.split(",")]
        if all(words):
            return list(words)
        hint = "an empty list is '[]'" if not text else "there is an empty item"
        raise Refused("a list such as 'a, b' or '[\"a\", \"b\"]'", hint)
    raise Refused("a list")


def parse_list(value: object) -> list[str]:
    """Accept what `split_list` does, where every item is text."""
    return [parse_str(item) for item in split_list(value)]


def _json_array(text: str) -> list[object] | None:
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return items if isinstance(items, list) else None
