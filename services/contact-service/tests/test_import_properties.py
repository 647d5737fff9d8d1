"""Any bytes in: errors of rows or a clear refusal, never a fault; and what was exported comes back."""

from __future__ import annotations

import asyncio
import io
import string
import struct
import tracemalloc
import zipfile
from datetime import UTC, date, datetime
from typing import Any
from uuid import uuid4

import pytest
import xlsxwriter  # type: ignore[import-untyped]  # it has no types
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from contact_service.domain import csv_file, xlsx_file
from contact_service.domain.cells import escape, unescape
from contact_service.domain.errors import ImportTooLarge, ImportUnreadable
from mtenant_chassis.custom_fields import CustomField
from mtenant_errors import AppError

pytestmark = pytest.mark.anyio
FEW = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
MANY = settings(FEW, max_examples=200)

header = st.lists(
    st.sampled_from(
        ["id", "email", "first_name", "Last Name", "status", "company", "custom.n", "x", "", '"']
    ),
    max_size=6,
)
cell = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["a@example.com", '"', "=1", "'", "\x00", "\r", "1e999", "active", "é"]),
)
separators = st.sampled_from([",", ";", "\t", "|"])


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """Files that are nearly tables."""
    by = draw(separators)
    lines = [draw(header), *draw(st.lists(st.lists(cell, max_size=7), max_size=6))]
    text = draw(st.sampled_from(["\n", "\r\n", "\r"])).join(by.join(line) for line in lines)
    return text.encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])), "replace")


@st.composite
def broken_sheets(draw: st.DrawFn) -> bytes:
    """XLSX files with bytes that are not what they were."""
    file = io.BytesIO()
    book = xlsxwriter.Workbook(file)
    book.set_properties({"created": datetime(2026, 1, 1, tzinfo=UTC)})  # the same each time
    sheet = book.add_worksheet()
    sheet.write_row(0, 0, ["email", "first_name"])
    sheet.write_row(1, 0, [draw(st.text(max_size=5)), 1])
    book.close()
    found = bytearray(file.getvalue())
    for place, value in draw(
        st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4)
    ):
        found[place % len(found)] = value
    return bytes(found[: draw(st.integers(1, len(found)))]) if draw(st.booleans()) else bytes(found)


anything = st.one_of(st.binary(max_size=200), tables(), broken_sheets())


@FEW
@given(file=anything, policy=st.sampled_from(["error", "skip", "update"]), dry=st.booleans())
async def test_whatever_is_uploaded_is_imported_or_refused_and_never_a_fault(
    client: Any, file: bytes, policy: str, dry: bool
) -> None:
    answer = await client.upload(file, on_duplicate=policy, dry_run=dry)
    said = answer.json()
    if answer.status_code == 200:
        counted = said["created"] + said["updated"] + said["skipped"] + said["invalid"]
        assert (said["status"], counted) == ("done", said["total"])
        errors = await client.get(f"{answer.headers['location']}/errors", params={"limit": 200})
        assert len({one["line"] for one in errors.json()["items"]}) == said["invalid"]
        assert (await client.get(f"{answer.headers['location']}/errors.csv")).status_code == 200
    else:
        assert answer.status_code in {413, 415, 422}, answer.text
        assert said["code"].startswith("IMPORT_")


@MANY
@given(file=st.one_of(st.binary(max_size=400), tables()))
def test_any_bytes_are_rows_or_unreadable(file: bytes) -> None:
    try:
        found = list(csv_file.rows(io.BytesIO(file)))
    except AppError as exc:
        assert exc.status_code in {413, 422}  # noqa: PT017 - either is well
        return
    lines = [line for line, _ in found]
    assert lines == sorted(set(lines))


@MANY
@given(file=broken_sheets())
def test_a_broken_spreadsheet_is_rows_or_unreadable(file: bytes) -> None:
    try:
        list(xlsx_file.rows(io.BytesIO(file)))
    except AppError as exc:
        assert exc.status_code in {413, 422}  # noqa: PT017 - either is well


@MANY
@given(text=st.text())
def test_no_cell_is_a_formula_and_each_is_read_as_it_was(text: str) -> None:
    written = escape(text)
    assert not written.startswith(tuple("=+-@\t\r\n"))
    assert unescape(written) == text


def bomb(*, lie: bool) -> bytes:
    """A file of 130 kB whose sheet unpacks to 130 MB; it may say that it has a hundred bytes."""
    sheet = SHEET.format("") + END + " " * (130 * 1024 * 1024)
    found = bytearray(sheet_with(sheet, at="xl/x"))
    if lie:
        at = found.rindex(b"PK\x01\x02")
        found[at + 24 : at + 28] = struct.pack("<I", 100)
    return bytes(found)


def sheet_with(xml: str, at: str = "xl/worksheets/sheet1.xml") -> bytes:
    """A good file whose sheet is another one."""
    file, made = io.BytesIO(), io.BytesIO()
    book = xlsxwriter.Workbook(file)
    book.add_worksheet().write(0, 0, "email")
    book.close()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            if name != "xl/worksheets/sheet1.xml":
                target = at.removeprefix("xl/").encode()
                new.writestr(name, old.read(name).replace(b"worksheets/sheet1.xml", target))
        new.writestr(at, xml)
    return made.getvalue()


SHEET = '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>{}'
END = "</sheetData></worksheet>"


@pytest.mark.parametrize(
    "file",
    [
        bomb(lie=False),
        bomb(lie=True),
        sheet_with(
            SHEET.format('<row r="1"><c r="A1"/></row><row><c r="XFD1048576"/></row>') + END
        ),
        sheet_with(SHEET.format("<row r='1'><c r='&#88;&#70;D9'><v>1</v></c></row>") + END),
        sheet_with(SHEET.format('<row r="1"><c r="XFD9"/></row>') + END, at="xl/media/x.png"),
        sheet_with(SHEET.format('<row r="999999999999"/><row r="1048576"/>') + END),
    ],
    ids=["bomb", "bomb that lies", "corner", "hidden corner", "elsewhere", "far rows"],
)
def test_what_would_fill_the_memory_is_refused_before_it_is_unpacked(file: bytes) -> None:
    with pytest.raises(ImportTooLarge):
        list(xlsx_file.rows(io.BytesIO(file)))


def test_a_sheet_that_is_no_xml_or_declares_entities_is_refused() -> None:
    late = SHEET.format('<row r="1"><c r="A1"/></row>') + " " * 3_000_000 + "<&<c r='XFD9'/>" + END
    with pytest.raises(ImportUnreadable):
        list(xlsx_file.rows(io.BytesIO(sheet_with(late))))
    broken = sheet_with("garbage" + SHEET.format('<row r="1"><c r="XFD9"/></row>') + END, at="xl/x")
    with pytest.raises(ImportUnreadable):
        list(xlsx_file.rows(io.BytesIO(broken)))
    file = sheet_with(f"<!DOCTYPE x [<!ENTITY a 'aaaa'>]>{SHEET.format('')}{END}")
    with pytest.raises(ImportUnreadable):
        list(xlsx_file.rows(io.BytesIO(file)))


line = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"), exclude_characters="\ufffe\uffff"),
    max_size=20,
)
word = st.one_of(
    line, st.sampled_from(["=1+1", "'=1", "''-", "@x", "1e5", "true", "_x0041_", "+1"])
)
local = st.text(string.ascii_lowercase + string.digits + "é_+-='", min_size=1, max_size=8)
custom = st.fixed_dictionaries(
    {},
    optional={
        "t": word,
        "n": st.one_of(st.integers(-(2**53) + 1, 2**53 - 1), st.floats(-1e15, 1e15)),
        "b": st.booleans(),
        "d": st.dates(date(1900, 3, 1)).map(str),
        "c": st.sampled_from(["=red", "blue"]),
    },
)
contact = st.fixed_dictionaries(
    {"first_name": word, "last_name": word, "phone": word, "job_title": word, "custom": custom},
    optional={
        "email": local.map(lambda text: f"{text}@example.com"),
        "status": st.sampled_from(["lead", "active", "inactive"]),
        "company": st.sampled_from(["=Example", "Other & Sons", "Ünï"]),
    },
)
FIELDS = ("first_name", "last_name", "email", "phone", "job_title", "status", "company", "custom")


async def prepared(client: Any) -> Any:
    """Be the owner of a tenant of its own, with fields of all types."""
    tenant = client.of(await client.place.new_tenant())
    for key, of in (("t", "text"), ("n", "number"), ("b", "boolean"), ("d", "date")):
        await tenant.field(key, of)
    await tenant.field("c", "choice", choices=["=red", "blue"])
    return tenant


@pytest.fixture
async def two(client: Any) -> Any:
    return await prepared(client), await prepared(client)


def emptied(client: Any) -> Any:
    """Return the same tenant without contacts."""
    client.rows("truncate {t}.contacts, {t}.companies, {t}.imports, {t}.import_rows")
    return client


async def known(client: Any) -> list[Any]:
    """Return what is known of all contacts, without ids."""
    companies = {
        one["id"]: one["name"]
        for one in (await client.get("/api/companies", params={"limit": 200})).json()["items"]
    }
    found = await client.contacts()
    for one in found:
        one["company"] = companies.get(one["company_id"])
        if isinstance(n := one["custom"].get("n"), float) and n.is_integer():
            one["custom"]["n"] = int(n)  # 1 and 1.0 are one number of JSON
    return sorted(repr([one[name] for name in FIELDS]) for one in found)


@settings(FEW, max_examples=8, phases=[Phase.generate])
@given(
    contacts=st.lists(
        contact, min_size=1, max_size=6, unique_by=lambda one: str(one.get("email", uuid4()))
    )
)
async def test_export_then_import_is_the_identity(two: Any, contacts: list[Any]) -> None:
    source = emptied(two[0])
    companies: dict[str, str] = {}
    for asked in contacts:
        name = asked.pop("company", None)
        if name is not None and name not in companies:
            companies[name] = (await source.company(name=name))["id"]
        asked["company_id"] = companies.get(name)
        if not (asked["first_name"].strip() or asked["last_name"].strip()):
            asked["first_name"] = "x"
        answer = await source.post("/api/contacts", json=asked, params={"allow_duplicates": True})
        assert answer.status_code == 201, answer.text
    before = await known(source)
    for kind in ("csv", "xlsx"):
        file = await source.get("/api/contacts/export", params={"format": kind})
        target = emptied(two[1])
        done = await target.upload(file.content, f"x.{kind}")
        why = await target.get(f"{done.headers['location']}/errors")
        assert done.json()["created"] == len(contacts), why.text
        assert await known(target) == before
        # Into the tenant it came from: every contact is found by its id, and stays as it was.
        again = (await source.upload(file.content, f"x.{kind}", on_duplicate="update")).json()
        assert (again["skipped"], again["updated"]) == (len(contacts), 0)
    assert await known(source) == before


def test_numbers_of_a_file_are_read_strictly() -> None:
    now = datetime.now(UTC)
    field = CustomField(uuid4(), "contact", "n", "n", "number", None, now, now, 1)
    assert [field.parse(text) for text in ("7", "-2.5", "1e3")] == [7, -2.5, 1000.0]
    for text in ("1_000", "nan", "inf", "1e999", "٣", "9" * 30, "", "0x1"):
        with pytest.raises(ValueError, match="is no number"):
            field.parse(text)


@pytest.mark.parametrize(
    ("few", "many", "room"),
    [(1_000, 8_000, 4), pytest.param(4_000, 60_000, 10, marks=pytest.mark.slow)],
)
async def test_memory_stays_flat_while_a_file_is_staged(
    *, client: Any, few: int, many: int, room: int
) -> None:
    """Batches are taken one at a time: what is held is a batch, whatever the file is."""

    async def peak(count: int) -> int:
        lines = "".join(f"First{n},p{n}@example.com\n" for n in range(count))
        file = f"first_name,email\n{lines}".encode()
        tenant = client.of(await client.place.new_tenant())
        tracemalloc.start()
        answer = await tenant.upload(file)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert answer.status_code in {200, 202}
        await asyncio.sleep(0)
        return most - 2 * len(file)  # the client's and the server's copy of the request

    small, large = await peak(few), await peak(many)
    assert large < small + room * 1024 * 1024
