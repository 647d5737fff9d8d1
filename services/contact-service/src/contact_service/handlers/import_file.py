"""The file of an import: from its bytes to rows that wait."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import IO, Final
from uuid import UUID

from contact_service.domain import csv_file, xlsx_file
from contact_service.domain.columns import Columns
from contact_service.domain.csv_file import Delimiter, Encoding, Row
from contact_service.domain.errors import ImportFormatUnknown, ImportTooLarge, ImportUnreadable
from contact_service.domain.identity import new_id
from contact_service.domain.imports import (
    AT_ONCE,
    LARGEST_FILE,
    MOST_ROWS,
    Format,
    Import,
    OnDuplicate,
)
from contact_service.queries import custom_fields, import_queue
from contact_service.queries import imports as rows
from mtenant_chassis import AuditTrail, Principal
from mtenant_database import Tenant, Transaction

_BATCH: Final = 1000
_PIECE: Final = 1024 * 1024
_ZIP: Final = b"PK"
_OLE: Final = b"\xd0\xcf\x11\xe0"  # XLS, and an XLSX with a password


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a file is imported.

    Attributes:
        on_duplicate: What becomes of rows whose contacts are there.
        dry_run: Whether nothing is written.
        encoding: Of a CSV file; found out by default.
        delimiter: Of a CSV file; found out by default.
    """

    on_duplicate: OnDuplicate = "error"
    dry_run: bool = False
    encoding: Encoding | None = None
    delimiter: Delimiter | None = None


class ImportFiles:
    """Takes files of one tenant.

    Args:
        tenant: Whose contacts.
        who: The caller.
        audit: The request's trail.
        gate: Bounds how many files are unpacked at a time.
    """

    def __init__(
        self, tenant: Tenant, who: Principal, audit: AuditTrail, gate: asyncio.Semaphore
    ) -> None:
        self._tenant = tenant
        self._who = who
        self._audit = audit
        self._gate = gate

    async def take(
        self, file: IO[bytes], filename: str | None, options: Options, *, again: bool
    ) -> tuple[Import, bool]:
        """Read a file to its end and keep its rows, all or none; tell whether it is a new import.

        Args:
            file: Which can be read again from its beginning.
            filename: For people.
            options: How.
            again: Whether the same file with the same options is imported once more.

        Raises:
            ImportUnreadable: The file is broken.
            ImportTooLarge: It has too much.
            ImportFormatUnknown: It is neither CSV nor XLSX.
            ImportColumnsUnknown: Its first row does not say what stands where.
        """
        digest = await asyncio.to_thread(_digest, file, options)
        if not again and (known := await rows.by_digest(self._tenant, digest)) is not None:
            return known, False
        async with self._gate, self._tenant.transaction() as tx:
            if again:
                await rows.forget_digest(tx, digest)
            await rows.sweep(tx)
            made = await self._stage(tx, file, filename, options, digest)
        if made is not None:
            return made, True
        known = await rows.by_digest(self._tenant, digest)
        if known is None:  # it was there when this one came, and is not any more
            raise ImportUnreadable(why="the same file was being imported: send it again")
        return known, False

    async def _stage(
        self,
        tx: Transaction,
        file: IO[bytes],
        filename: str | None,
        options: Options,
        digest: bytes,
    ) -> Import | None:
        kind = await asyncio.to_thread(_format, file)
        found = _rows(file, kind, options)
        first = await asyncio.to_thread(next, found, None)
        if first is None:
            raise ImportUnreadable(why="it is empty")
        columns = Columns.of(first[1], await custom_fields.TABLE.of(tx, "contact"))
        header = list(first[1])
        named = zip(header, columns.names, strict=True)
        # PostgreSQL has U+0000 in no text.
        filename = None if filename is None else filename.replace("\x00", "")[:255]
        values = {
            "id": new_id(),
            "digest": digest,
            "filename": filename,
            "format": kind,
            "on_duplicate": options.on_duplicate,
            "dry_run": options.dry_run,
            "header": header,
            "ignored": [cell for cell, name in named if name is None and cell.strip()],
            "actor": self._audit.actor,
            "caller": self._who.id,
            "request_id": self._audit.request_id,
        }
        made = await rows.add(tx, values)
        if made is None:
            return None
        total = await self._copy(tx, made.id, columns, found)
        # One that is imported at once belongs to its request; if that dies, to whoever finds it later.
        wait = import_queue.LEASE if total <= AT_ONCE else timedelta()
        await import_queue.put(tx, made.id, wait)
        said = {"filename": filename, "rows": total, "on_duplicate": options.on_duplicate}
        await self._audit.record(
            tx, "import.started", "import", made.id, after={**said, "dry_run": options.dry_run}
        )
        return await rows.staged(tx, made.id, total)

    async def _copy(
        self, tx: Transaction, which: UUID, columns: Columns, found: Iterator[Row]
    ) -> int:
        total = 0
        while some := await asyncio.to_thread(list, islice(found, _BATCH)):
            total += len(some)
            if total > MOST_ROWS:
                raise ImportTooLarge(most=f"{MOST_ROWS} rows")
            staged = [(line, cells, columns.email(cells)) for line, cells in some]
            await rows.stage(tx, which, staged)
        return total


def _digest(file: IO[bytes], options: Options) -> bytes:
    file.seek(0)
    said = json.dumps(options.__dict__, sort_keys=True).encode()
    found = hashlib.sha256(said + b"\0")
    while piece := file.read(_PIECE):
        found.update(piece)
    return found.digest()


def _format(file: IO[bytes]) -> Format:
    if file.seek(0, 2) > LARGEST_FILE:
        raise ImportTooLarge(most=f"{LARGEST_FILE} bytes")
    file.seek(0)
    start = file.read(4)
    if start.startswith(_OLE):
        raise ImportFormatUnknown
    return "xlsx" if start.startswith(_ZIP) else "csv"


def _rows(file: IO[bytes], kind: Format, options: Options) -> Iterator[Row]:
    if kind == "xlsx":
        return xlsx_file.rows(file)
    return csv_file.rows(file, encoding=options.encoding, delimiter=options.delimiter)
