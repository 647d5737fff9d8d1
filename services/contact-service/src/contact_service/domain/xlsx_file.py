"""XLSX files: what is in their first sheet, and that it fits into memory before anybody unpacks it.

A file of some kilobytes may say that it unpacks to terabytes, lie about it, or have one cell in the last
corner of a sheet of seventeen billion. So every part is unpacked once, piece by piece and counted, and each
cell's place is read, before the library reads the sheet as a whole.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import IO, Any, Final
from xml.parsers import expat

import python_calamine

from contact_service.domain.csv_file import Row
from contact_service.domain.errors import ImportTooLarge, ImportUnreadable
from contact_service.domain.imports import LONGEST_CELL, MOST_COLUMNS, MOST_ROWS

MOST_UNPACKED: Final = 128 * 1024 * 1024
MOST_PARTS: Final = 1000
MOST_CELLS: Final = 4_000_000

_PIECE: Final = 1024 * 1024
_LOCAL_HEADER: Final = 30  # APPNOTE.TXT, 4.3.7
_PLACE: Final = re.compile(r"([A-Z]{1,3})([0-9]{1,7})")


def rows(file: IO[bytes]) -> Iterator[Row]:
    """Return the rows of the first sheet, each with its number.

    Raises:
        ImportUnreadable: It is no such file, or a broken one.
        ImportTooLarge: It would unpack to more than is taken at once.
    """
    check(file)
    file.seek(0)
    sheet = _sheet(file)
    if sheet is None:
        raise ImportUnreadable(why="it has no sheet")
    for number, cells in enumerate(sheet.iter_rows(), (sheet.start or (0, 0))[0] + 1):
        texts = [_text(cell) for cell in cells]
        if any(len(text) > LONGEST_CELL for text in texts):
            raise ImportUnreadable(why=f"row {number} has a cell that is too long")
        if any(texts):
            yield number, texts


def check(file: IO[bytes]) -> None:
    """Let the file be unpacked.

    Raises:
        ImportUnreadable: It is no zip file, or a part of it is broken.
        ImportTooLarge: It has too much.
    """
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, struct.error) as exc:
        raise ImportUnreadable(why="it is no XLSX file", internal=repr(exc)) from exc
    if len(parts) > MOST_PARTS:
        raise ImportTooLarge(most=f"{MOST_PARTS} parts")
    left = MOST_UNPACKED
    for part in parts:
        places = _Places()  # of any part: what a sheet is called is for the file to say
        for piece in _unpacked(file, part):
            left -= len(piece)
            if left < 0:
                raise ImportTooLarge(most=f"{MOST_UNPACKED} bytes when it is unpacked")
            places.feed(piece)


def _unpacked(file: IO[bytes], part: zipfile.ZipInfo) -> Iterator[bytes]:
    """Unpack a part as far as its bytes go, whatever its header says of its size."""
    if part.header_offset < 0:
        raise ImportUnreadable(why="it is cut off")
    file.seek(part.header_offset)
    header = file.read(_LOCAL_HEADER)
    if len(header) < _LOCAL_HEADER:
        raise ImportUnreadable(why="it is cut off")
    file.seek(sum(struct.unpack("<HH", header[26:])), 1)
    left = part.compress_size
    if part.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED} or part.flag_bits & 1:
        raise ImportUnreadable(why="it is encrypted, or packed in an unusual way")
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    while left > 0 and (packed := file.read(min(left, _PIECE))):
        left -= len(packed)
        if part.compress_type == zipfile.ZIP_STORED:
            yield packed
            continue
        try:
            while packed:
                yield unpacker.decompress(packed, _PIECE)
                packed = unpacker.unconsumed_tail
        except zlib.error as exc:
            raise ImportUnreadable(why="a part of it is broken") from exc
    if part.compress_type == zipfile.ZIP_DEFLATED:
        yield unpacker.flush(_PIECE)


class _Places:
    """Reads where the cells of a sheet are: the library makes room for all between the first and last."""

    def __init__(self) -> None:
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._element
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._rows = self._columns = 0
        self._cells = 0
        self._is_xml = True
        self._is_sheet = False
        self._end = b""

    def feed(self, piece: bytes) -> None:
        """Read on."""
        if self._is_xml:
            try:
                self._parser.Parse(piece, False)
            except (expat.ExpatError, LookupError, ValueError):
                self._is_xml = False  # a picture, or a sheet that another parser would forgive
        # In a sheet that breaks off, what follows would not be counted.
        if not self._is_xml and (self._is_sheet or b"sheetData" in self._end + piece):
            raise ImportUnreadable(why="a sheet of it is no XML")
        self._end = (self._end + piece)[-16:]
        # Rows may begin anywhere, so the cells between them count, too.
        if self._rows > MOST_ROWS + 1 or self._columns > MOST_COLUMNS:
            raise ImportTooLarge(most=f"{MOST_ROWS} rows or {MOST_COLUMNS} columns")
        if max(self._cells, self._rows * self._columns) > MOST_CELLS:
            raise ImportTooLarge(most=f"{MOST_CELLS} cells")

    def _element(self, name: str, attributes: dict[str, str]) -> None:
        kind = name.rpartition(":")[2]
        self._is_sheet = self._is_sheet or kind == "sheetData"
        if kind == "row":
            said = attributes.get("r", "")
            self._rows = max(self._rows + 1, int(said) if said.isdecimal() and len(said) < 9 else 0)
        elif kind == "c":
            self._cells += 1
            found = _PLACE.fullmatch(attributes.get("r", "").replace("$", "").upper())
            if found is None:
                self._columns = max(self._columns, 1)
                return
            self._rows = max(self._rows, int(found[2]))
            self._columns = max(self._columns, _column(found[1]))

    def _doctype(self, *_: object) -> None:
        raise ImportUnreadable(why="a sheet of it declares a document type")


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


def _sheet(file: IO[bytes]) -> Any:
    try:
        book = python_calamine.CalamineWorkbook.from_filelike(file)
        return book.get_sheet_by_index(0) if book.sheet_names else None
    except BaseException as exc:
        # A panic of the library is no Exception; its class is not to be had.
        if isinstance(exc, Exception) or type(exc).__name__ == "PanicException":
            raise ImportUnreadable(why="it is no XLSX file", internal=repr(exc)) from exc
        raise


def _text(cell: object) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 2**53 else repr(cell)
    if isinstance(cell, datetime) and cell.time() == time():
        return cell.date().isoformat()
    if isinstance(cell, date | datetime | time):
        return cell.isoformat()
    if isinstance(cell, timedelta):
        return str(cell)
    return str(cell)
