"""Spreadsheets are read as another program reads them, in little memory whatever they say of themselves."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
import python_calamine
import xlsxwriter  # type: ignore[import-untyped]  # it has no types
from hypothesis import given, settings
from hypothesis import strategies as st

from contact_service.domain import xlsx_file
from contact_service.domain.errors import ImportTooLarge, ImportUnreadable
from contact_service.domain.imports import LARGEST_FILE, LONGEST_CELL

SPACE = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
KIND = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
RELATED = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{}'
    "</Relationships>"
)
RELATION = '<Relationship Id="{0}" Type="' + KIND + '/{1}" Target="{2}"/>'
SHEET = f'<worksheet xmlns="{SPACE}"><sheetData>{{}}</sheetData></worksheet>'
HEADER = '<row r="1"><c r="A1" t="str"><v>email</v></c></row>'


def book(
    sheet: str,
    strings: str = f'<sst xmlns="{SPACE}"/>',
    styles: str = "",
    *,
    at: str = "sharedStrings.xml",
    name: str = "x",
    pr: str = "",
    also: tuple[tuple[str, str], ...] = (),
) -> bytes:
    """A file of these parts: its texts are `at` a place, and its sheet has a name."""
    main = f'<workbook xmlns="{SPACE}" xmlns:r="{KIND}">{pr}<sheets>'
    sheets = f'<sheet name="{name}" sheetId="1" r:id="a"/></sheets></workbook>'
    related = [
        ("a", "worksheet", "sheet.xml"),
        ("b", "sharedStrings", at),
        ("c", "styles", "s.xml"),
    ]
    parts = (
        ("_rels/.rels", RELATED.format(RELATION.format("a", "officeDocument", "xl/workbook.xml"))),
        (
            "xl/_rels/workbook.xml.rels",
            RELATED.format("".join(RELATION.format(*r) for r in related)),
        ),
        ("xl/workbook.xml", main + sheets),
        ("xl/s.xml", f'<styleSheet xmlns="{SPACE}">{styles}</styleSheet>'),
        (f"xl/{at}", strings),
        ("xl/sheet.xml", sheet),
        *also,
    )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one has two parts of a name
        for part, text in parts:
            archive.writestr(part, text)
    return file.getvalue()


def ods() -> bytes:
    """A file of another kind, whose one cell is repeated in a million rows."""
    content = (
        '<office:document-content xmlns:office="o" xmlns:table="t" xmlns:text="x"><office:body>'
        '<office:spreadsheet><table:table table:name="a"><table:table-row'
        ' table:number-rows-repeated="1000000"><table:table-cell office:value-type="string"'
        ' table:number-columns-repeated="16000"><text:p>aaaaaaaa</text:p></table:table-cell>'
        "</table:table-row></table:table></office:spreadsheet></office:body>"
        "</office:document-content>"
    )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("META-INF/manifest.xml", "<manifest/>")
        archive.writestr("content.xml", content)
    return file.getvalue()


def shared(cells: int) -> str:
    """A sheet whose cells have the same text."""
    row = '<row><c t="s"><v>0</v></c>' + '<c t="s"><v>0</v></c>' * 99 + "</row>"
    return SHEET.format(HEADER + row * (cells // 100))


def texts(inner: str, count: int = 1) -> str:
    return f'<sst xmlns="{SPACE}" uniqueCount="{count}">{inner}</sst>'


LONG = texts(f"<si><t>{'x' * 100_000}</t></si>")
LONGEST = texts(f"<si><t>{'x' * LONGEST_CELL}</t></si>")
FEW = SHEET.format(HEADER + '<row><c t="s"><v>0</v></c></row>')
LAST = '<row r="1048576"><c r="XFD1048576" t="str"><v>x</v></c></row>'
FAR = '<row r="200001">' + '<c t="str"><v>x</v></c>' * 4000 + "</row>"
MERGED = '<mergeCell ref="A1:XFD1048576"/>' * 10_000
FORMULA = "<f>" + "A1+" * 10_000_000 + "A1</f><v>1</v>"
TOO_LARGE, UNREADABLE = "ImportTooLarge", "ImportUnreadable"

BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a long text in many cells": (lambda: book(shared(8_000), LONG), UNREADABLE),
    "the longest text in many cells": (lambda: book(shared(100_000), LONGEST), TOO_LARGE),
    "texts elsewhere": (lambda: book(shared(100_000), LONGEST, at="t.bin"), TOO_LARGE),
    "two parts of a name": (
        lambda: book(shared(100_000), also=(("xl/sharedStrings.xml", LONGEST),)),
        TOO_LARGE,
    ),
    "a text of many runs": (
        lambda: book(shared(8_000), texts(f"<si>{'<r><t>xxxxxxxx</t></r>' * 1_000_000}</si>")),
        UNREADABLE,
    ),
    "runs without a text": (
        lambda: book(FEW, texts(f"<si>{'<r><t/></r>' * 1_000_000}</si>")),
        "1",
    ),
    "a count of texts that lies": (lambda: book(FEW, texts("<si><t>x</t></si>", 10**15)), "2"),
    "texts in the cells": (
        lambda: book(
            SHEET.format(f'<row><c t="inlineStr"><is><t>{"x" * 9_999}</t></is></c></row>' * 12_000)
        ),
        TOO_LARGE,
    ),
    "a cell in the last corner": (lambda: book(SHEET.format(HEADER + LAST)), TOO_LARGE),
    "cells that do not say where": (lambda: book(SHEET.format(HEADER + FAR)), TOO_LARGE),
    "merged cells of a long name": (
        lambda: book(
            SHEET.format(HEADER).replace("</sheetData>", f"</sheetData><m>{MERGED}</m>"),
            name="x" * 100_000,
        ),
        "1",
    ),
    "a long formula": (lambda: book(SHEET.format(f"<row><c>{FORMULA}</c></row>")), "1"),
    "a long tag": (lambda: book(SHEET.format(f'<row spans="{"x" * 100_000_000}"/>')), UNREADABLE),
    "deep": (lambda: book(SHEET.format("<row>" * 2_000_000)), UNREADABLE),
    "many names": (
        lambda: book(SHEET.format("".join(f"<a{n}/>" for n in range(1_500_000)))),
        UNREADABLE,
    ),
    "entities": (
        lambda: book(
            f'<!DOCTYPE a [<!ENTITY a "{"x" * 10_000}"><!ENTITY b "{"&a;" * 10_000}">]>'
            + SHEET.format('<row><c t="str"><v>&b;</v></c></row>')
        ),
        UNREADABLE,
    ),
    "another kind of spreadsheet": (ods, UNREADABLE),
}


def test_no_file_needs_more_memory_than_others() -> None:
    """In a process that the system would end: its limits are the proof."""
    files = [make() for make, _ in BOMBS.values()]
    assert max(map(len, files)) < LARGEST_FILE
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("bounded.py"))],
        input=b"".join(len(file).to_bytes(8, "big") + file for file in files),
        capture_output=True,
        timeout=600,
        check=False,
    )
    # Of one that ends the process there is no line.
    found = dict(zip(BOMBS, done.stdout.decode().split(), strict=False))
    assert found == {name: expected for name, (_, expected) in BOMBS.items()}
    assert done.returncode == 0, done.stderr[-2000:]


CELLS = st.one_of(
    st.text(
        st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"),
        max_size=20,
    ),
    st.sampled_from([" x ", "a\nb", "_x0041_", "_x000D_", "=1+1", "\t", "1e5", "true"]),
    # Not far before the calendar begins; and calamine panics at a duration of far more.
    st.integers(-(10**5), 10**8),
    st.floats(-1e5, 1e8),
    st.booleans(),
    st.dates(date(1900, 1, 1), date(9999, 12, 31)),
    st.datetimes(datetime(1904, 1, 2), datetime(9999, 12, 31)),
    st.times(),
    st.timedeltas(timedelta(), timedelta(days=500)),
    st.none(),
)
FORMATS = st.sampled_from(
    [
        *("General", "0.00", "yyyy-mm-dd", "dd/mm/yy hh:mm", "[h]:mm:ss", "[mm]", "h:mm AM/PM"),
        *('"day" 0', "0_d", "\\d0", "[Red]0.0;[Blue]d", "[$-404]d", '#,##0 "kg"', "mmss.0", "@"),
    ]
)


@settings(max_examples=150, deadline=None)
@given(
    table=st.lists(st.lists(st.tuples(CELLS, FORMATS), min_size=1, max_size=4), max_size=6),
    is_1904=st.booleans(),
    is_small=st.booleans(),
)
def test_a_spreadsheet_is_read_as_another_program_reads_it(
    table: list[list[tuple[Any, str]]], *, is_1904: bool, is_small: bool
) -> None:
    file = io.BytesIO()
    made = xlsxwriter.Workbook(file, {"date_1904": is_1904, "constant_memory": is_small})
    sheet = made.add_worksheet()
    sheet.write_row(0, 0, ["a", "b", "c", "d"])
    for number, line in enumerate(table, 1):
        for column, (value, code) in enumerate(line):
            style = made.add_format({"num_format": code})
            if isinstance(value, str):
                sheet.write_string(number, column, value, style)
            else:
                sheet.write(number, column, value, style)
    made.close()
    found = [(number, [*cells, *[""] * (4 - len(cells))]) for number, cells in xlsx_file.rows(file)]
    assert found == by_another(file)


def by_another(file: io.BytesIO) -> list[tuple[int, list[str]]]:
    """Return the rows of a sheet that begins in its first cell, as calamine reads them."""
    file.seek(0)
    found = python_calamine.CalamineWorkbook.from_filelike(file).get_sheet_by_index(0)
    lines = [[_text(cell) for cell in line] for line in found.iter_rows()]
    return [(number, line) for number, line in enumerate(lines, 1) if any(line)]


def _text(cell: object) -> str:
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 2**53 else repr(cell)
    if isinstance(cell, datetime) and cell.time() == time():
        return cell.date().isoformat()
    if isinstance(cell, date | time):
        return cell.isoformat()
    return str(cell)


def test_texts_of_runs_are_one_without_how_they_are_pronounced() -> None:
    inner = '<si><r><t>Ad</t></r><r><t xml:space="preserve">a </t></r><rPh><t>x</t></rPh></si>'
    sheet = SHEET.format(
        '<row r="3"><c r="B3" t="s"><v>0</v></c><c t="d"><v>2026-01-02</v></c></row>'
    )
    file = io.BytesIO(book(sheet, texts(inner)))
    assert list(xlsx_file.rows(file)) == [(3, ["", "Ada ", "2026-01-02"])]


def test_the_first_row_is_as_wide_as_the_widest() -> None:
    row = '<row><c t="str"><v>x</v></c><c/><c><v>1</v></c><c s="1"/></row>'
    file = io.BytesIO(book(SHEET.format(HEADER + row)))
    assert list(xlsx_file.rows(file)) == [(1, ["email", "", ""]), (2, ["x", "", "1"])]


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        ('<row r="2"/><row r="2"/>', ImportUnreadable),
        ('<row r="x"/>', ImportUnreadable),
        ('<row><c r="1A"/></row>', ImportUnreadable),
        ('<row><c t="s"><v>1</v></c></row>', ImportUnreadable),
        (f'<row><c t="str"><v>{"x" * (LONGEST_CELL + 1)}</v></c></row>', ImportUnreadable),
        ('<row r="200002"/>', ImportTooLarge),
        ('<row><c r="GS1"/></row>', ImportTooLarge),
    ],
)
def test_a_sheet_that_cannot_be_is_refused(rows: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        list(xlsx_file.rows(io.BytesIO(book(SHEET.format(rows)))))
