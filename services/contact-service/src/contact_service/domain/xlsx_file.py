"""XLSX files: what is in their first sheet, a row at a time.

No library that reads them bounds its memory: what a file says of its sizes is believed, and a text that a
million cells share is copied a million times. Here a row is made when its turn comes, and what rows have in
all is bounded.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterator, Sequence
from datetime import datetime, time, timedelta
from typing import IO, Final, Literal

from contact_service.domain.csv_file import Row
from contact_service.domain.errors import ImportTooLarge, ImportUnreadable
from contact_service.domain.imports import LONGEST_CELL, MOST_COLUMNS, MOST_ROWS
from contact_service.domain.xlsx_package import Package, Relationships

MOST_CELLS: Final = 4_000_000
MOST_TEXT: Final = 64 * 1024 * 1024
"""Characters of all cells."""

_MOST_TOLD: Final = 16 * 1024 * 1024  # bytes of the workbook, and of its styles
_LONGEST_RAW: Final = 8 * LONGEST_CELL  # a character may be written as seven
_ESCAPED: Final = re.compile(r"_x00([0-9A-Fa-f]{2})_")  # ECMA-376, part 1, 22.4.2.4
_BLANK: Final = " \t\r\n"

_Kind = Literal["number", "date", "duration"]
_BUILT_IN: Final[dict[str, _Kind]] = {  # ECMA-376, part 1, 18.8.30
    **dict.fromkeys(map(str, [*range(14, 23), 45, 47]), "date"),
    "46": "duration",
}
_LITERAL: Final = re.compile(r'"[^"]*"?|[\\_*].?', re.DOTALL)
_HINT: Final = re.compile(r"\[(?!h+\]|m+\]|s+\])[^\]]*\]")  # a colour, a condition, a language
_CLOCK: Final = re.compile(r"\[[hms]+\]|a/p|[dmhys]")
_EPOCH: Final = datetime(1899, 12, 30)
_DAY: Final = 86_400_000
_FROM_1904: Final = 1462


def _name(column: int) -> str:
    before, last = divmod(column, 26)
    return (_name(before - 1) if before else "") + chr(ord("A") + last)


_COLUMNS: Final = {_name(column): column for column in range(MOST_COLUMNS)}


def rows(file: IO[bytes]) -> Iterator[Row]:
    """Return the rows of the first sheet, each with its number.

    The first one is as wide as the widest: a column without a name is a column, too.

    Raises:
        ImportUnreadable: It is no such file, or a broken one.
        ImportTooLarge: It has more than is taken at once.
    """
    package = Package(file)
    main = Relationships(package, "").kinds.get("officeDocument", "")
    related = Relationships(package, main)
    book = _Book()
    package.read(main, book, most=_MOST_TOLD)
    strings, styles = _Strings(), _Styles()
    if (part := related.kinds.get("sharedStrings")) is not None and part in package:
        package.read(part, strings)
    if (part := related.kinds.get("styles")) is not None and part in package:
        package.read(part, styles, most=_MOST_TOLD)
    if book.first is None:
        raise ImportUnreadable(why="it has no sheet")
    part = related.targets.get(book.first, "")
    places = _Places()
    package.read(part, places)
    sheet = _Sheet(strings, styles.kinds, is_1904=book.is_1904)
    width = places.width
    for _ in package.steps(part, sheet):
        for number, cells in sheet.rows:
            yield number, [*cells, *[""] * (width - len(cells))]
            width = 0
        sheet.rows.clear()


class _Book:
    """Which sheet is the first, and since when days are counted."""

    def __init__(self) -> None:
        self.first: str | None = None
        self.is_1904 = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "workbookPr":
            self.is_1904 = attributes.get("date1904") in {"1", "true"}
        elif name == "sheet" and self.first is None:
            ids = [value for key, value in attributes.items() if key.endswith(":id")]
            self.first = ids[0] if ids else ""

    def end(self, name: str) -> None:
        """Do nothing."""

    def text(self, text: str) -> None:
        """Do nothing."""


class _Styles:
    """What the numbers of each style are."""

    def __init__(self) -> None:
        self.kinds: list[_Kind] = []
        self._own: dict[str, _Kind] = {}
        self._is_cell = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "numFmt":
            self._own[attributes.get("numFmtId", "")] = _kind(attributes.get("formatCode", ""))
        elif name == "cellXfs":
            self._is_cell = True
        elif name == "xf" and self._is_cell:
            of = attributes.get("numFmtId", "")
            self.kinds.append(self._own.get(of) or _BUILT_IN.get(of, "number"))

    def end(self, name: str) -> None:
        if name == "cellXfs":
            self._is_cell = False

    def text(self, text: str) -> None:
        """Do nothing."""


class _Text:
    """A text that may have runs of several fonts, and says besides how it is pronounced."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self._done: list[str] = []
        self._run: list[str] | None = None
        self._length = 0
        self._is_kept = self._is_phonetic = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "rPh":
            self._is_phonetic = True
        elif name == "t" and not self._is_phonetic:
            self._run = []
            self._is_kept = attributes.get("xml:space") == "preserve"

    def text(self, text: str) -> None:
        if self._run is not None and self._length < _LONGEST_RAW:
            self._run.append(text)
            self._length += len(text)

    def end(self, name: str) -> None:
        if name == "rPh":
            self._is_phonetic = False
        elif name == "t" and self._run is not None:
            text = "".join(self._run)
            self._run = None
            text = text if self._is_kept else text.strip(_BLANK)
            if "_x00" in text:
                text = _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)
            if text:  # runs without any may be many millions
                self._done.append(text)

    def whole(self) -> str:
        """Return it; of one that is too long, enough to see that."""
        return "".join(self._done)[: LONGEST_CELL + 1]


class _Strings:
    """The texts that cells share: bytes, of which a cell's text is made when it is asked for."""

    def __init__(self) -> None:
        self._all = bytearray()
        self._ends = array("L", [0])
        self._one = _Text()

    def __getitem__(self, index: int) -> str:
        if index >= len(self._ends) - 1:
            raise ImportUnreadable(why="a cell of it has a text that is not there")
        return self._all[self._ends[index] : self._ends[index + 1]].decode()

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "si":
            self._one.begin()
        else:
            self._one.start(name, attributes)

    def text(self, text: str) -> None:
        self._one.text(text)

    def end(self, name: str) -> None:
        if name != "si":
            self._one.end(name)
            return
        if len(self._ends) > MOST_CELLS:
            raise ImportTooLarge(most=f"{MOST_CELLS} texts")
        self._all += self._one.whole().encode()
        self._ends.append(len(self._all))


class _Places:
    """Where the cells of a sheet are.

    Attributes:
        width: Columns up to the last cell that says something.
    """

    def __init__(self) -> None:
        self.width = 0
        self._is_data = False
        self._row = 0
        self._next = 0
        self._cells = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if not self._is_data:
            self._is_data = name == "sheetData"
        elif name == "c":
            self._cells += 1
            if self._cells > MOST_CELLS:
                raise ImportTooLarge(most=f"{MOST_CELLS} cells")
            self._next = self._column(attributes.get("r")) + 1
        elif name == "row":
            self._row = self._number(attributes.get("r"))
            self._next = 0
        elif name in {"v", "is"}:
            self.width = max(self.width, self._next)

    def end(self, name: str) -> None:
        if name == "sheetData":
            self._is_data = False

    def text(self, text: str) -> None:
        """Do nothing."""

    def _column(self, said: str | None) -> int:
        if said is None:
            found: int | None = self._next
        else:
            letters = said.rstrip("0123456789")
            found = _COLUMNS.get(letters)
            if found is None and re.fullmatch("[A-Z]+", letters) is None:
                raise ImportUnreadable(why=f"row {self._row} has a cell that is nowhere")
        if found is None or found >= MOST_COLUMNS:
            raise ImportTooLarge(most=f"{MOST_COLUMNS} columns")
        return found

    def _number(self, said: str | None) -> int:
        if said is None:
            found = self._row + 1
        elif not (said.isascii() and said.isdecimal()):
            raise ImportUnreadable(why="it has a row without a number")
        else:
            found = int(said) if len(said) < 9 else MOST_ROWS + 2
        if found > MOST_ROWS + 1:
            raise ImportTooLarge(most=f"{MOST_ROWS} rows")
        if found <= self._row:
            raise ImportUnreadable(why=f"row {found} comes after row {self._row}")
        return found


class _Sheet(_Places):
    """The rows of a sheet.

    Attributes:
        rows: Those that were read since they were last taken away.
    """

    def __init__(self, strings: _Strings, kinds: Sequence[_Kind], *, is_1904: bool) -> None:
        super().__init__()
        self.rows: list[Row] = []
        self._strings = strings
        self._kinds = kinds
        self._is_1904 = is_1904
        self._line: list[str] = []
        self._left = MOST_TEXT
        self._type: str | None = None
        self._style: str | None = None
        self._inline = _Text()
        self._value: list[str] | None = None
        self._length = 0
        self._found = ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "t":  # these are the most
            self._inline.start(name, attributes)
            return
        super().start(name, attributes)
        if name == "c":
            self._type, self._style = attributes.get("t"), attributes.get("s")
            self._found = ""
        elif name == "v":
            self._value, self._length = [], 0
        elif name == "is":
            self._inline.begin()
        elif name == "row":
            self._line = []
        else:
            self._inline.start(name, attributes)

    def text(self, text: str) -> None:
        if self._value is None:
            self._inline.text(text)
        elif self._length <= LONGEST_CELL:
            self._value.append(text)
            self._length += len(text)

    def end(self, name: str) -> None:
        if not self._is_data:
            return
        if name == "c":
            self._put()
        elif name == "v":
            if self._type not in {"inlineStr", "is"}:  # their text is in another element
                self._found = self._read("".join(self._value or ()))
            self._value = None
        elif name == "is":
            self._found = self._inline.whole()
        elif name == "row":
            if any(self._line):
                self.rows.append((self._row, self._line))
        else:
            self._inline.end(name)
            super().end(name)

    def _put(self) -> None:
        text = self._found
        if len(text) > LONGEST_CELL:
            raise ImportUnreadable(why=f"row {self._row} has a cell that is too long")
        self._left -= len(text)
        if self._left < 0:
            raise ImportTooLarge(most=f"{MOST_TEXT} characters")
        if text:
            self._line += [""] * (self._next - len(self._line))
            self._line[self._next - 1] = text

    def _read(self, value: str) -> str:
        """Return the text of a value (ECMA-376, part 1, 18.18.11)."""
        if self._type == "s":
            if not value:
                return ""
            return self._strings[int(value) if value.isdecimal() and len(value) < 9 else MOST_CELLS]
        if self._type == "b":
            return "false" if value == "0" else "true"
        if self._type == "e":
            return ""
        if self._type == "d":
            return _iso(value)
        if self._type == "str" or not value:
            return value
        try:
            number = float(value)
        except ValueError:
            return value
        return _text(number, self._kind(), is_1904=self._is_1904)

    def _kind(self) -> _Kind:
        style = self._style
        if style is None or not style.isdecimal() or len(style) > 8:
            return "number"
        return self._kinds[int(style)] if int(style) < len(self._kinds) else "number"


def _kind(code: str) -> _Kind:
    """Return what is shown in a format (ECMA-376, part 1, 18.8.31): its first section says it."""
    plain = _HINT.sub("", _LITERAL.sub("", code).partition(";")[0].lower())
    found = _CLOCK.search(plain)
    if found is None:
        return "number"
    return "duration" if found[0].startswith("[") else "date"


def _text(number: float, kind: _Kind, *, is_1904: bool) -> str:
    if kind != "number" and math.isfinite(number):
        try:
            return _moment(number, kind, is_1904=is_1904)
        except OverflowError:  # farther than the calendar goes
            pass
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)


def _moment(number: float, kind: _Kind, *, is_1904: bool) -> str:
    if kind == "duration":
        return str(_after(number))
    days = number + _FROM_1904 if is_1904 else number
    days = days if days >= 60 else days + 1  # 29 February 1900 is a day there
    moment = _EPOCH + _after(days)
    return moment.time().isoformat() if number < 1 else _said(moment)


def _after(days: float) -> timedelta:
    """Return it to the millisecond, which is all that a spreadsheet says."""
    rest, whole = math.modf(abs(days) * _DAY)
    return timedelta(milliseconds=math.copysign(whole + (rest >= 0.5), days))


def _iso(text: str) -> str:
    """Return a date and time as the others are."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return _said(moment) if moment.tzinfo is None else text


def _said(moment: datetime) -> str:
    return moment.date().isoformat() if moment.time() == time() else moment.isoformat()
