"""A dump of a tenant as a folder: what stands in it, and how it is known to be whole.

`manifest.json` is written last and lists every other file with its SHA-256. The folder has its name only
when it is complete and on the disk: what has been interrupted is called `.NAME.*.part`.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self, cast

from mtenant_database.migrate.errors import DumpInvalid, DumpRefused
from mtenant_database.tenant_id import InvalidTenantId, check_tenant_id

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
SCHEMA: Final = "schema.sql.gz"
BLOCK: Final = 1 << 18  # bytes
# Level 6 halves the speed and takes a tenth off the size.
_LEVEL: Final = 3


@dataclass(frozen=True)
class Rows:
    """A file with the tenant's rows of a table that all tenants share.

    Attributes:
        file: Its name.
        schema: The table's schema.
        table: The table.
        tenant_column: The column that says whose a row is.
        columns: What the file holds of each row, in this order.
        count: How many rows.
    """

    file: str
    schema: str
    table: str
    tenant_column: str
    columns: Sequence[str]
    count: int


@dataclass(frozen=True)
class Manifest:
    """What a dump says of itself.

    Attributes:
        tenant: Whose it is.
        status: `active` or `suspended`.
        grantees: Who lost USAGE by the suspension, quoted.
        created_at: When the tenant was made, as the server writes it.
        dumped_at: The moment that the dump shows.
        server: The server's version, as in server_version_num.
        versions: The newest version of each component.
        rows: The files of shared rows, in the order in which they go back.
        sha256: The digest of each file.
    """

    tenant: str
    status: str
    grantees: Sequence[str]
    created_at: str
    dumped_at: str
    server: int
    versions: dict[str, int]
    rows: Sequence[Rows]
    sha256: dict[str, str]

    def write(self, folder: Path) -> None:
        """Write it, and see to it that it reaches the disk."""
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=2, ensure_ascii=False)
        with (folder / MANIFEST).open("x", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read it.

        Raises:
            DumpInvalid: There is none, or it is none of this format.
        """
        try:
            said = json.loads((folder / MANIFEST).read_text("utf-8"))
        except OSError as exc:
            raise _invalid(folder, f"no {MANIFEST} can be read: {exc.strerror}") from exc
        except ValueError as exc:
            raise _invalid(folder, f"{MANIFEST} is no JSON") from exc
        version = said.pop("format", None) if isinstance(said, dict) else None
        if version != FORMAT:
            raise _invalid(folder, f"its format is {version!r}, and this program knows {FORMAT}")
        try:
            said["rows"] = [Rows(**rows) for rows in said["rows"]]
            manifest = cls(**said)
            check_tenant_id(manifest.tenant)
            names = {SCHEMA, *(rows.file for rows in manifest.rows)}
            if manifest.status not in {"active", "suspended"} or names != {*manifest.sha256}:
                raise ValueError  # noqa: TRY301 -- the way out is the same
        except (InvalidTenantId, KeyError, TypeError, ValueError, AttributeError) as exc:
            raise _invalid(folder, f"{MANIFEST} does not say what a dump has to") from exc
        return manifest

    def verify(self, folder: Path) -> None:
        """Compare every file with its digest.

        Raises:
            DumpInvalid: One is missing or was changed.
        """
        for name, digest in self.sha256.items():
            if Path(name).name != name:
                raise _invalid(folder, f"{name!r} is no file of it")
            try:
                with (folder / name).open("rb") as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as exc:
                raise _invalid(folder, f"{name} cannot be read: {exc.strerror}") from exc
            if found != digest:
                raise _invalid(folder, f"{name} is damaged: it is not what was dumped")


class Output:
    """A compressed file of a dump that is being written; its digest is known when it is closed."""

    def __init__(self, path: Path) -> None:
        self._raw: BinaryIO = path.open("xb")
        self._digest = hashlib.sha256()
        # Without name and time: the same content is the same file.
        self._zip = gzip.GzipFile("", "wb", _LEVEL, cast("Any", self), mtime=0)

    @property
    def sha256(self) -> str:
        """The digest of what has reached the file."""
        return self._digest.hexdigest()

    def add(self, block: bytes) -> None:
        """Write a block."""
        self._zip.write(block)

    def write(self, block: bytes) -> int:
        """Take a compressed block from gzip."""
        self._digest.update(block)
        return self._raw.write(block)

    def flush(self) -> None:
        """Do nothing: `close` does."""

    def close(self) -> None:
        """End the file, and see to it that it reaches the disk."""
        self._zip.close()
        self._raw.flush()
        os.fsync(self._raw.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if exc is None:
                self.close()
        finally:
            with contextlib.suppress(OSError):  # what broke first is what is told
                self._raw.close()


@contextmanager
def unfinished(target: Path) -> Iterator[Path]:
    """Make the folder under another name, which it loses by `finish`; else it is removed at the end.

    Raises:
        DumpRefused: There is something of this name.
        OSError: It cannot be made.
    """
    check_absent(target)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def begin(folder: Path) -> None:
    """Empty the folder, in which an attempt before may have failed."""
    for path in folder.iterdir():
        path.unlink()


def finish(folder: Path, target: Path) -> None:
    """Give a complete folder its name.

    Raises:
        DumpRefused: Meanwhile there is something of this name.
        OSError: It cannot be renamed.
    """
    _sync(folder)
    check_absent(target)
    folder.rename(target)
    _sync(target.parent)


def check_absent(target: Path) -> None:
    """Refuse to overwrite a dump.

    Raises:
        DumpRefused: There is something of this name.
    """
    if os.path.lexists(target):
        raise DumpRefused(where=str(target), problem="it is there already: name another folder")


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _invalid(folder: Path, problem: str) -> DumpInvalid:
    return DumpInvalid(where=str(folder), problem=problem)
