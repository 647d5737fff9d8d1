"""Exports: every contact of a list, a page at a time, so that no slow reader holds a connection."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import tempfile
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, Literal
from uuid import UUID

import xlsxwriter  # type: ignore[import-untyped]  # it has no types

from contact_service.domain.cells import escape
from contact_service.domain.columns import ERRORS, header_of, row_of
from contact_service.domain.contact import Contact
from contact_service.domain.custom_field import CustomField
from contact_service.domain.imports import Import
from contact_service.domain.listing import Listing
from contact_service.handlers.lookup import said
from contact_service.queries import companies, imports
from contact_service.queries import contacts as rows
from mtenant_database import Tenant

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
    with tempfile.TemporaryFile() as file:
        # Rows are written to disk as they come; in_memory would keep them.
        book = xlsxwriter.Workbook(file, {"constant_memory": True})
        sheet = book.add_worksheet("contacts")
        _write(sheet, 0, [header_of(fields)])
        at = 1
        async for found in pages(tenant, asked):
            named = await _companies(tenant, found)
            lines = [row_of(one, fields, named) for one in found][: _MOST_SHEET_ROWS - at + 1]
            await asyncio.to_thread(_write, sheet, at, lines)
            at += len(lines)
        await asyncio.to_thread(book.close)
        file.seek(0)
        while piece := await asyncio.to_thread(file.read, _PIECE):
            yield piece


async def refused_rows(tenant: Tenant, found: Import) -> AsyncIterator[bytes]:
    """Yield the refused rows of an import as a CSV file that can be corrected and imported."""
    yield _csv([[*found.header, ERRORS]])
    line = 0
    while some := await imports.errors(tenant, found.id, after=line, limit=_PAGE):
        yield _csv(
            [
                *(list(one.cells) + [""] * len(found.header))[: len(found.header)],
                "; ".join(f"{why['field'] or 'row'}: {why['message']}" for why in one.errors),
            ]
            for one in some
        )
        line = some[-1].line


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
