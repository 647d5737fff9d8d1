from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtenant_database.migrate import MigrationFileInvalid, Requirement
from mtenant_database.migrate.script import Directives, Script


def directives(head: str) -> Directives:
    return Script(f"{head}\nselect 1;", "001_x.sql").directives


def test_a_file_without_directives_is_one_transaction() -> None:
    assert directives("-- Migration: what ever") == Directives()


def test_directives_stand_in_the_leading_comments() -> None:
    found = directives(
        "-- Migration: x\n\n-- migrate: no-transaction, lock_timeout=10s\n"
        "--migrate:requires auth>=3 deal>=1\n-- migrate: contract statement_timeout=2min irreversible"
    )
    assert found == Directives(
        transactional=False,
        contract=True,
        irreversible=True,
        lock_timeout="10s",
        statement_timeout="2min",
        requires=(Requirement("auth", 3), Requirement("deal", 1)),
    )


def test_a_directive_after_the_first_statement_is_prose() -> None:
    assert Script("select 1; -- migrate: no-transaction\nselect 2", "x").directives.transactional


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        ("-- migrate: no-transactions", "'no-transactions' is no directive"),
        ("-- migrate:", "it says nothing"),
        ("-- migrate: lock_timeout=5", "'5' is no time"),
        ("-- migrate: lock_timeout=5s; drop table x", "'5s;' is no time"),
        ("-- migrate: requires", "requires wants a component and a version"),
        ("-- migrate: requires auth>3", "requires wants a component and a version"),
        ("-- migrate: requires Auth>=3", "a name is a letter"),
        ("-- migrate: contract contract", "contract is said twice"),
    ],
)
def test_a_wrong_directive_is_an_error_with_its_line(head: str, problem: str) -> None:
    with pytest.raises(MigrationFileInvalid) as info:
        directives(f"-- x\n{head}")
    assert "001_x.sql:2" in info.value.message or "component" in info.value.message
    assert problem in info.value.message


@pytest.mark.parametrize("text", ["", " \n", "-- only a comment", "/* ; */ ;;", ";"])
def test_a_file_that_says_nothing_is_an_error(text: str) -> None:
    with pytest.raises(MigrationFileInvalid, match="it is empty"):
        Script(text, "001_x.sql")


@pytest.mark.parametrize(
    "text",
    ["begin; select 1; commit", "select 1;\nCOMMIT", "start transaction", "rollback", "end", "abort",
     "prepare transaction 'x'"],
)  # fmt: skip
def test_a_transactional_file_may_not_end_the_transaction(text: str) -> None:
    with pytest.raises(MigrationFileInvalid, match="in a file that is one transaction already"):
        Script(text, "001_x.sql")


@pytest.mark.parametrize(
    "text",
    ["savepoint a; rollback to a", "prepare q as select 1", "do $$ begin null; end $$",
     "-- migrate: no-transaction\nbegin; select 1; commit"],
)  # fmt: skip
def test_what_looks_like_it_and_is_not_is_allowed(text: str) -> None:
    assert Script(text, "001_x.sql").text == text


def test_copy_from_the_client_is_refused() -> None:
    with pytest.raises(MigrationFileInvalid, match="write INSERT"):
        Script("copy people from stdin;", "001_x.sql")


def test_a_quote_that_is_never_closed_is_named_with_its_line() -> None:
    with pytest.raises(MigrationFileInvalid, match=r"001_x\.sql:2: a string ' is never closed"):
        Script("select 1;\nselect 'a", "001_x.sql")


def test_nul_is_refused() -> None:
    with pytest.raises(MigrationFileInvalid, match="NUL"):
        Script("select 1\0", "001_x.sql")


@given(st.text())
def test_any_text_is_a_script_or_a_typed_error(text: str) -> None:
    try:
        script = Script(text, "x")
    except MigrationFileInvalid:
        return
    assert "\r" not in script.text
    assert script.statements


@pytest.mark.parametrize(
    ("text", "where", "word"),
    [
        ("\\copy people from 'people.csv'", "x.sql:1", r"\\copy"),
        ("select 1;\n\\connect other\nselect 2", "x.sql:2", r"\\connect"),
        ("select 1 \\gexec", "x.sql:1", r"\\gexec"),
    ],
)
def test_commands_of_psql_are_named(text: str, where: str, word: str) -> None:
    with pytest.raises(MigrationFileInvalid, match=f"{where}: {word} is a command of psql"):
        Script(text, "x.sql")


def test_a_backslash_in_a_string_is_no_command() -> None:
    Script("select 'a\\b', E'\\'', $$ \\copy $$, \"a\\b\" /* \\q */ -- \\q", "x.sql")


@pytest.mark.parametrize("head", ["-- Migrate: contract", "--MIGRATE : contract"])
def test_a_directive_is_one_however_it_is_written(head: str) -> None:
    """What reads like one and is ignored would run a contract migration too early."""
    assert Script(f"{head}\nselect 1", "x.sql").directives.contract
