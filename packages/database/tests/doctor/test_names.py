"""Names that somebody chose to do harm with: in what people read, and in the SQL of a cure."""

from __future__ import annotations

import doctest
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mtenant_database.doctor as package
from mtenant_database.doctor import quoting
from mtenant_database.doctor.quoting import ident, literal, named, path_of, shown

if TYPE_CHECKING:
    from conftest import Patient

HOSTILE = "tenant_\"x\n\x1b[2J'; drop schema shared; --\u202e\\"

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=15)


def test_what_the_docstrings_say_holds() -> None:
    for module in (package, quoting):
        result = doctest.testmod(module)
        assert result.attempted > 0
        assert result.failed == 0


@pytest.fixture(scope="module")
def conn(postgres_dsn: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(postgres_dsn, autocommit=True) as conn:
        yield conn


@settings(max_examples=150, deadline=None)
@given(name=names)
def test_the_server_reads_a_quoted_name_or_text_as_it_was(
    conn: psycopg.Connection[tuple[object, ...]], name: str
) -> None:
    for said in (ident(name), literal(name), shown(name), named(name)):
        assert said.isprintable()
    cursor = conn.execute(f"select {literal(name)} as {ident(name)}".encode())
    assert cursor.fetchone() == (name,)
    assert cursor.description is not None
    cut = name.encode()[:63].decode(errors="ignore")  # NAMEDATALEN
    assert cursor.description[0].name == cut


@settings(max_examples=100, deadline=None)
@given(path=st.lists(names.filter(lambda name: len(name.encode()) < 64), min_size=1, max_size=4))
def test_a_path_is_read_as_the_server_writes_it(
    conn: psycopg.Connection[tuple[object, ...]], path: list[str]
) -> None:
    row = conn.execute(
        "select string_agg(quote_ident(name), ', ') from unnest(%s::text[]) name", [path]
    ).fetchone()
    assert row is not None
    assert path_of(str(row[0])) == path


def test_hostile_names_break_neither_the_report_nor_the_cures(
    new_patient: Callable[[], Patient],
) -> None:
    patient = new_patient()
    schema, thing, kind = ident(HOSTILE), ident("a\"b'c\r\n\x07d"), ident("ki\nnd")
    role = ident(f"{patient.name}\n{HOSTILE}")
    patient.install("acme")
    for text in (
        f"create schema {schema} authorization %_owner",
        f"grant all on schema {schema} to public",
        f"create type {schema}.{kind} as enum ({literal(HOSTILE)}, 'x')",
        f"create table {schema}.{thing} (id int primary key, {thing} {schema}.{kind})",
        f"grant all on {schema}.{thing} to public",
        f"create function {schema}.{thing}({schema}.{thing}) returns int language sql"
        " security definer as 'select 1'",
        f"create view shared.{thing} as select id from {schema}.{thing}",
        f"create table shared.{kind} ({thing} int references {schema}.{thing}, tenant_id text)",
        f"create role {role} login",
        f"alter role {role} set search_path = {schema}",
        f"grant temporary on database % to {role}",
    ):
        patient.run(text)

    report = patient.examine()
    assert Counter(one.check for one in report.findings) == {
        "base-path": 1,
        "temp": 1,
        "public-create": 1,
        "public-grants": 2,
        "row-security": 1,
        "functions": 1,
        "foreign-keys": 1,
        "views": 1,
        "owners": 1,
        "types": 1,
    }
    assert all(line.isprintable() for line in report.to_text().split("\n"))
    assert report.to_json().isascii()
    for one in report.findings:
        assert one.is_sql
        patient.run(one.cure)
    assert patient.examine().findings == ()
    assert patient.run("select to_regclass('shared.tenants') is not null") == [(True,)]
