"""The parts of an XLSX file: unpacked and parsed piece by piece, so that none needs much memory.

A file of some kilobytes may say that it unpacks to terabytes, lie about it, or be nested a million deep. No
part is held as a whole, whatever it says of itself.
"""

from __future__ import annotations

import posixpath
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Final, Protocol
from xml.parsers import expat

from contact_service.domain.errors import ImportTooLarge, ImportUnreadable

MOST_UNPACKED: Final = 128 * 1024 * 1024
MOST_PARTS: Final = 1000

_PIECE: Final = 64 * 1024
_LONGEST_TOKEN: Final = 1024 * 1024  # a tag with all its attributes, or a comment
_MOST_NAMES: Final = 1000  # of elements and attributes: the parser keeps each
_DEEPEST: Final = 100
_LOCAL_HEADER: Final = 30  # APPNOTE.TXT, 4.3.7


class Reader(Protocol):
    """Reads a part; names come without their prefixes."""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Begin an element."""

    def end(self, name: str) -> None:
        """End it."""

    def text(self, text: str) -> None:
        """Take text, or a piece of it."""


class Package:
    """An XLSX file as a zip file of parts.

    Args:
        file: Which can be read again from its beginning.

    Raises:
        ImportUnreadable: It is no zip file.
        ImportTooLarge: It has too many parts.
    """

    def __init__(self, file: IO[bytes]) -> None:
        file.seek(0)
        try:
            with zipfile.ZipFile(file) as archive:
                parts = archive.infolist()
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, struct.error) as exc:
            raise ImportUnreadable(why="it is no XLSX file", internal=repr(exc)) from exc
        if len(parts) > MOST_PARTS:
            raise ImportTooLarge(most=f"{MOST_PARTS} parts")
        self._file = file
        self._parts = {_key(part.filename): part for part in parts}

    def __contains__(self, name: str) -> bool:
        """Tell whether there is such a part."""
        return _key(name) in self._parts

    def read(self, name: str, reader: Reader, *, most: int = MOST_UNPACKED) -> None:
        """Read a part to its end; `most` bounds its bytes when it is unpacked.

        Raises:
            ImportUnreadable: It is missing, broken or no XML.
            ImportTooLarge: It has more bytes.
        """
        for _ in self.steps(name, reader, most=most):
            pass

    def steps(self, name: str, reader: Reader, *, most: int = MOST_UNPACKED) -> Iterator[None]:
        """The same, a piece at each step."""
        part = self._parts.get(_key(name))
        if part is None:
            raise ImportUnreadable(why="it is no XLSX file", internal=f"it has no {name[:100]}")
        parser = _parser(reader)
        taken = 0
        try:
            for piece in self._unpacked(part):
                taken += len(piece)
                if taken > most:
                    raise ImportTooLarge(most=f"{most} bytes in a part when it is unpacked")
                parser.Parse(piece, False)
                if taken - max(parser.CurrentByteIndex, 0) > _LONGEST_TOKEN:
                    raise ImportUnreadable(why="a part of it has too long a tag")
                if len(parser.intern) > _MOST_NAMES:
                    raise ImportUnreadable(why="a part of it has too many names")
                yield
            parser.Parse(b"", True)
        except (expat.ExpatError, LookupError, ValueError) as exc:
            raise ImportUnreadable(why="a part of it is no XML", internal=repr(exc)) from exc
        yield

    def _unpacked(self, part: zipfile.ZipInfo) -> Iterator[bytes]:
        """Unpack a part as far as its bytes go, whatever its header says of its size."""
        file = self._file
        if part.header_offset < 0:
            raise ImportUnreadable(why="it is cut off")
        file.seek(part.header_offset)
        header = file.read(_LOCAL_HEADER)
        if len(header) < _LOCAL_HEADER:
            raise ImportUnreadable(why="it is cut off")
        at = file.seek(sum(struct.unpack("<HH", header[26:])), 1)
        left = part.compress_size
        if (
            part.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
            or part.flag_bits & 1
        ):
            raise ImportUnreadable(why="it is encrypted, or packed in an unusual way")
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        while left > 0:
            file.seek(at)  # somebody may read another part between two pieces
            if not (packed := file.read(min(left, _PIECE))):
                break
            left -= len(packed)
            at += len(packed)
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


class Relationships:
    """What a part refers to (ECMA-376, part 2, 9.3).

    Args:
        package: The file.
        part: Whose relationships; "" for those of the file.

    Attributes:
        targets: Parts by the ids of relationships.
        kinds: The first part of each type, by the type's last word.
    """

    _MOST: Final = 1024 * 1024

    def __init__(self, package: Package, part: str) -> None:
        self._folder, name = posixpath.split(part)
        self.targets: dict[str, str] = {}
        self.kinds: dict[str, str] = {}
        package.read(f"{self._folder}/_rels/{name}.rels", self, most=self._MOST)

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Read a relationship."""
        if name == "Relationship":
            target = posixpath.normpath(posixpath.join(self._folder, attributes.get("Target", "")))
            self.targets[attributes.get("Id", "")] = target
            self.kinds.setdefault(attributes.get("Type", "").rpartition("/")[2], target)

    def end(self, name: str) -> None:
        """Do nothing."""

    def text(self, text: str) -> None:
        """Do nothing."""


def _parser(reader: Reader) -> expat.XMLParserType:
    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST:
            raise ImportUnreadable(why="a part of it is nested too deep")
        reader.start(name.rpartition(":")[2] if ":" in name else name, attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        reader.end(name.rpartition(":")[2] if ":" in name else name)

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _doctype
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = reader.text
    return parser


def _doctype(*_: object) -> None:
    raise ImportUnreadable(why="a part of it declares a document type")


def _key(name: str) -> str:
    """Return how a part is found: some programs write its name in other cases, or with backslashes."""
    return name.replace("\\", "/").lower().lstrip("/")
