"""CSV files (RFC 4180, and what people call so): encodings, delimiters, rows."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from typing import IO, Final, Literal

from contact_service.domain.cells import unescape
from contact_service.domain.errors import ImportTooLarge, ImportUnreadable
from contact_service.domain.imports import LONGEST_CELL, MOST_COLUMNS

Row = tuple[int, list[str]]
"""Where a row begins, counted in lines from 1, and its cells."""

Encoding = Literal["utf-8", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "latin-1"]
Delimiter = Literal["comma", "semicolon", "tab", "pipe"]

DELIMITERS: Final[dict[Delimiter, str]] = {
    "comma": ",",
    "semicolon": ";",
    "tab": "\t",
    "pipe": "|",
}

_PIECE: Final = 65536
# In this order: what is no UTF-8 is what Windows wrote before; five of its bytes are nothing at all.
_GUESSES: Final = ("utf-8-sig", "cp1252")


def rows(
    file: IO[bytes], *, encoding: Encoding | None = None, delimiter: Delimiter | None = None
) -> Iterator[Row]:
    """Return the rows of a file, as they are read.

    Args:
        file: Which can be read again from its beginning.
        encoding: Of its text; found out by default.
        delimiter: Between its cells; found out by default, from the first line that is not blank.

    Raises:
        ImportUnreadable: The text has another encoding, or a cell is too long.
        ImportTooLarge: A row has too many cells.
    """
    name = _encoding(file, encoding)
    separator = DELIMITERS[delimiter] if delimiter else _delimiter(_first(file, name))
    file.seek(0)
    # The wrapper closes the file with itself: rows are the last that is read of it.
    yield from _rows(io.TextIOWrapper(file, encoding=name, newline=""), separator)


def _rows(text: io.TextIOWrapper, separator: str) -> Iterator[Row]:
    reader = csv.reader(text, delimiter=separator)
    line = 1
    try:
        for cells in reader:
            if len(cells) > MOST_COLUMNS:
                raise ImportTooLarge(most=f"{MOST_COLUMNS} columns")
            if any(len(cell) > LONGEST_CELL for cell in cells):
                raise ImportUnreadable(why=f"line {line} has a cell that is too long")
            if any(cells):
                yield line, [unescape(cell) for cell in cells]
            line = reader.line_num + 1
    except csv.Error as exc:
        raise ImportUnreadable(why=f"line {line} is no CSV", internal=str(exc)) from exc


def _encoding(file: IO[bytes], said: Encoding | None) -> str:
    file.seek(0)
    start = file.read(4)
    if said is not None:
        guesses: tuple[str, ...] = ("utf-8-sig" if said == "utf-8" else said,)
    elif start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        guesses = ("utf-16",)
    else:
        guesses = _GUESSES
    for name in guesses:
        if _decodes(file, name):
            return name
    raise ImportUnreadable(why=f"its text is not {' or '.join(guesses)}")


def _decodes(file: IO[bytes], name: str) -> bool:
    file.seek(0)
    decoder = codecs.getincrementaldecoder(name)()
    try:
        while piece := file.read(_PIECE):
            decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeError:
        return False
    return True


def _first(file: IO[bytes], encoding: str) -> str:
    file.seek(0)
    text = io.TextIOWrapper(file, encoding=encoding, newline="")
    line = next((line for line in text if line.strip()), "")
    text.detach()  # or it would close the file
    return line[:_PIECE]


def _delimiter(line: str) -> str:
    """Return the delimiter that stands most often outside of quotes."""
    outside = "".join(line.split('"')[::2])
    return max(DELIMITERS.values(), key=outside.count)
