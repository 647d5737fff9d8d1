"""Exports: every contact of a list, a page at a time, so that no slow reader holds a connection."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Final, Literal, Self, TypeVar
from uuid import UUID

import xlsxwriter  # type: ignore[import-untyped]  # it has no types

from contact_service.domain.cells import escape
from contact_service.domain.columns import ERRORS, header_of, row_of
from contact_service.domain.contact import Contact
from contact_service.domain.imports import Import
from contact_service.domain.listing import Listing
from contact_service.handlers.lookup import said
from contact_service.queries import companies, imports
from contact_service.queries import contacts as rows
from mtenant_chassis.custom_fields import CustomField
from mtenant_database import Tenant

T = TypeVar("T")
ExportFormat = Literal["csv", "xlsx", "ndjson"]

_PAGE: Final = 1000
_PIECE: Final = 64 * 1024
_MOST_SHEET_ROWS: Final = 1_048_575  # of a sheet, without its first row


async def pages(tenant: Tenant, asked: Listing | None) -> AsyncIterator[Sequence[Contact]]:
    """Yield contacts in the order in which they were made: each once, as it is when its turn comes."""
    if asked is None:
        return
    after: tuple[Any, UUID] | None = None
    ordered = replace(asked, sort="created_at")
    while found := await rows.export(tenant, ordered, after=after, limit=_PAGE):
        yield found
        if len(found) < _PAGE:
            return
        after = (found[-1].created_at, found[-1].id)


async def ndjson(tenant: Tenant, asked: Listing | None) -> AsyncIterator[bytes]:
    """Yield contacts as lines of JSON."""
    async for found in pages(tenant, asked):
        yield b"".join(json.dumps(said(one)).encode() + b"\n" for one in found)


async def csv_lines(
    tenant: Tenant, asked: Listing | None, fields: Sequence[CustomField]
) -> AsyncIterator[bytes]:
    """Yield a CSV file in UTF-8; no spreadsheet takes a cell of it for a formula."""
    yield _csv([header_of(fields)])
    async for found in pages(tenant, asked):
        named = await _companies(tenant, found)
        yield _csv(row_of(one, fields, named) for one in found)


async def xlsx(
    tenant: Tenant, asked: Listing | None, fields: Sequence[CustomField]
) -> AsyncIterator[bytes]:
    """Yield an XLSX file; its texts are texts, also those that look like formulas."""
    # Rows are files until the book is closed, and only that removes them: of an export that breaks off,
    # the folder does.
    with (
        tempfile.TemporaryDirectory(prefix="contacts-") as folder,
        _Sheets(folder, fields) as sheets,
    ):
        async for found in pages(tenant, asked):
            named = await _companies(tenant, found)
            await _to_its_end(sheets.write, [row_of(one, fields, named) for one in found])
        with await _to_its_end(sheets.finish) as file:
            while piece := await asyncio.to_thread(file.read, _PIECE):
                yield piece


async def refused_rows(tenant: Tenant, found: Import) -> AsyncIterator[bytes]:
    """Yield the refused rows of an import as a CSV file that can be corrected and imported."""
    yield _csv([[*found.header, ERRORS]])
    width = len(found.header)
    line = 0
    while some := await imports.errors(tenant, found.id, after=line, limit=_PAGE):
        yield _csv(
            [
                *one.cells[:width],
                *[""] * (width - len(one.cells)),
                "; ".join(f"{why['field'] or 'row'}: {why['message']}" for why in one.errors),
                *one.cells[width:],  # what is too many stays so, until somebody corrects it
            ]
            for one in some
        )
        line = some[-1].line


class _Sheets:
    """A book of as many sheets as its rows need, each with a first row.

    Args:
        folder: Where its files may be.
        fields: The tenant's own.
    """

    def __init__(self, folder: str, fields: Sequence[CustomField]) -> None:
        self._path = Path(folder, "contacts.xlsx")
        # in_memory would keep all rows.
        options = {"constant_memory": True, "tmpdir": folder}
        self._book = xlsxwriter.Workbook(str(self._path), options)
        self._header = header_of(fields)
        self._sheet: Any = None
        self._at = 0
        self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sheet in self._book.worksheets():
            sheet.row_data_fh.close()

    def write(self, lines: Sequence[Sequence[Any]]) -> None:
        """Add rows."""
        while lines:
            if self._at > _MOST_SHEET_ROWS:
                self._begin()
            some = lines[: _MOST_SHEET_ROWS - self._at + 1]
            _write(self._sheet, self._at, some)
            self._at += len(some)
            lines = lines[len(some) :]

    def finish(self) -> IO[bytes]:
        """Return the file."""
        self._book.close()
        return self._path.open("rb")

    def _begin(self) -> None:
        count = len(self._book.worksheets())
        self._sheet = self._book.add_worksheet(f"contacts {count + 1}" if count else "contacts")
        _write(self._sheet, 0, [self._header])
        self._at = 1


async def _to_its_end(call: Callable[..., T], *args: Any) -> T:
    """Run it in a thread; if nobody waits any more, its files stay until it is done."""
    running = asyncio.ensure_future(asyncio.to_thread(call, *args))
    try:
        return await asyncio.shield(running)
    finally:
        await asyncio.wait({running})


async def _companies(tenant: Tenant, found: Sequence[Contact]) -> dict[UUID, str]:
    ids = {one.company_id for one in found if one.company_id is not None}
    return await companies.names_of(tenant, ids) if ids else {}


def _csv(lines: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")  # RFC 4180, 2.1
    writer.writerows([_cell(value) for value in line] for line in lines)
    return text.getvalue().encode()


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return escape(value)
    return "" if value is None else repr(value)


def _write(sheet: Any, first: int, lines: Sequence[Sequence[Any]]) -> None:
    for number, line in enumerate(lines, first):
        for column, value in enumerate(line):
            if isinstance(value, bool):
                sheet.write_boolean(number, column, value)
            elif isinstance(value, str):
                sheet.write_string(number, column, value)
            elif value is not None and float(f"{value:.16G}") == value:
                sheet.write_number(number, column, value)
            elif value is not None:  # a cell has 16 digits, and this number has 17
                sheet.write_string(number, column, repr(value))
