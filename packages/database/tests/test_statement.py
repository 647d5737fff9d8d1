from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtenant_database.statement import Kind, check_copies, check_reads, deletes, kind_of

NOISE = st.lists(
    st.sampled_from(
        [b" ", b"\n", b"\t", b"(", b"-- select\n", b"/* insert */", b"/* /* call p() */ select */"]
    ),
    max_size=6,
).map(b"".join)


@pytest.mark.parametrize("word", ["select", "SELECT", "with", "values", "table", "show", "explain"])
@given(NOISE)
def test_a_query_is_a_read_whatever_stands_before_it(word: str, noise: bytes) -> None:
    assert kind_of(noise + word.encode() + b" x") is Kind.READ


@pytest.mark.parametrize(
    "word",
    ["insert", "update", "delete", "merge", "call", "do", "lock", "create", "vacuum", "what"],
)
@given(NOISE)
def test_what_is_not_known_to_read_is_a_write(word: str, noise: bytes) -> None:
    assert kind_of(noise + word.encode() + b" x") is Kind.WRITE


@pytest.mark.parametrize(
    "query",
    [
        "begin",
        "START TRANSACTION",
        "/* x */ commit",
        "end",
        "rollback to savepoint a",
        "savepoint a",
        "release a",
        "prepare transaction 'x'",
        "set search_path to tenant_other",
        "SET SESSION search_path = x",
        "set role postgres",
        "reset all",
        "listen x",
        "discard all",
        "deallocate all",
        "load 'x'",
        "copy contacts to stdout",
        "declare c cursor with hold for select 1",
        "fetch all from c",
        "create temp table t (id int)",
        "/* x */ CREATE LOCAL TEMPORARY TABLE t (id int)",
        "create or replace temp view v as select 1",
        "",
        " -- nothing",
        "/* open",
        ";",
    ],
)
def test_what_would_leave_the_scope_or_change_the_session_is_refused(query: str) -> None:
    with pytest.raises(ValueError, match="not for here"):
        kind_of(query.encode())


@pytest.mark.parametrize(
    "query", ["set local lock_timeout = '1s'", "SET CONSTRAINTS all immediate", "set transaction x"]
)
def test_settings_that_end_with_the_transaction_are_let_through(query: str) -> None:
    assert kind_of(query.encode()) is Kind.SETTING


def test_a_temporary_table_that_ends_with_the_transaction_is_let_through() -> None:
    assert kind_of(b"create temp table t (id int) on commit drop") is Kind.WRITE
    assert kind_of(b"create table temperatures (id int)") is Kind.WRITE


def test_a_cursor_is_for_queries_only() -> None:
    check_reads(b"select 1")
    with pytest.raises(ValueError, match="stream"):
        check_reads(b"delete from contacts")


def test_copy_is_for_copy_only() -> None:
    check_copies(b" /* x */ COPY contacts to stdout")
    with pytest.raises(ValueError, match="copy"):
        check_copies(b"copyist")


def test_a_delete_is_known() -> None:
    assert deletes(b"/* x */ DELETE from contacts")
    assert not deletes(b"select 'delete'")


@given(st.binary(max_size=80))
def test_any_bytes_are_classified_or_refused(query: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert kind_of(query) in Kind
