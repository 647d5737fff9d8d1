from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import python_calamine

from contact_service.handlers import export

pytestmark = pytest.mark.anyio

EVIL = ["=1+1", "+1", "-1", "@x", "'=1", "\uff1d1", "plain"]


async def test_no_cell_of_an_export_is_a_formula(client: Any) -> None:
    for n, text in enumerate(EVIL):
        await client.contact(first_name=text, email=f"p{n}@example.com")
    file = await client.get("/api/contacts/export")
    lines = list(csv.reader(io.StringIO(file.text)))
    assert [line[1] for line in lines[1:]] == [
        *("'=1+1", "'+1", "'-1", "'@x", "''=1", "'\uff1d1", "plain")
    ]
    assert file.headers["content-disposition"] == 'attachment; filename="contacts.csv"'
    assert file.headers["cache-control"] == "no-store"
    sheet = await client.get("/api/contacts/export", params={"format": "xlsx"})
    book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(sheet.content))
    cells = book.get_sheet_by_index(0)
    assert [line[1] for line in cells.to_python()[1:]] == EVIL
    lines = (await client.get("/api/contacts/export", params={"format": "ndjson"})).text.split("\n")
    assert [json.loads(line)["first_name"] for line in lines[:-1]] == EVIL
    audit = (await client.get("/api/contacts/audit", params={"entity": "export"})).json()["items"]
    assert [one["after"]["format"] for one in audit] == ["ndjson", "xlsx", "csv"]


async def test_an_export_has_what_its_filters_say_page_after_page(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_PAGE", 7)
    lines = "".join(f"N{n},{'active' if n % 2 else 'lead'}\n" for n in range(40))
    await client.upload(f"first_name,status\n{lines}".encode())
    for kind, count in ((None, 40), ("active", 20)):
        params = {"format": "ndjson"} | ({"status": kind} if kind else {})
        file = await client.get("/api/contacts/export", params=params)
        found = [json.loads(line)["id"] for line in file.text.splitlines()]
        assert len(found) == len(set(found)) == count
    for kind in ("csv", "xlsx", "ndjson"):
        nothing = await client.get("/api/contacts/export", params={"format": kind, "q": "&"})
        assert nothing.status_code == 200
        assert (kind == "ndjson") == (nothing.content == b"")


async def test_a_sheet_that_is_full_is_followed_by_another(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_PAGE", 7)
    monkeypatch.setattr(export, "_MOST_SHEET_ROWS", 10)
    await client.upload(("first_name\n" + "".join(f"N{n}\n" for n in range(25))).encode())
    file = await client.get("/api/contacts/export", params={"format": "xlsx"})
    book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(file.content))
    assert book.sheet_names == ["contacts", "contacts 2", "contacts 3"]
    sheets = [book.get_sheet_by_index(n).to_python() for n in range(3)]
    assert [len(one) for one in sheets] == [11, 11, 6]
    assert {one[0][1] for one in sheets} == {"first_name"}
    assert {line[1] for one in sheets for line in one[1:]} == {f"N{n}" for n in range(25)}
    again = await client.upload(file.content, on_duplicate="update")
    assert (again.json()["total"], again.json()["skipped"]) == (10, 10)


@pytest.mark.parametrize("end", ["error", "cancelled", "closed", "read"])
async def test_an_export_leaves_no_file_however_it_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, end: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    began = asyncio.Event()

    async def pages(*_: object) -> AsyncIterator[list[Any]]:
        yield []
        began.set()
        if end == "error":
            raise RuntimeError
        if end == "cancelled":
            await asyncio.Event().wait()

    monkeypatch.setattr(export, "pages", pages)
    made = export.xlsx(None, None, [])  # type: ignore[arg-type]  # its pages are made here
    task = asyncio.ensure_future(anext(made))
    await began.wait()
    if end == "cancelled":
        assert os.listdir(tmp_path)
        task.cancel()
    if end in {"error", "cancelled"}:
        with pytest.raises((RuntimeError, asyncio.CancelledError)):
            await task
    else:
        assert (await task).startswith(b"PK")
    if end == "read":
        assert [one async for one in made] == []
    await made.aclose()  # type: ignore[attr-defined]  # it is a generator
    assert not os.listdir(tmp_path)
