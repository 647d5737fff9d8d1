from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import pq

from mtenant_database.migrate.statement import Unterminated, split

# Pieces that matter to a scanner; joined at random they make every nesting of quotes and comments.
FRAGMENTS = [
    "select 1", "select ", "'", "''", "'a;b'", "E'", "e'\\'", "\\", "\\'", '"', '"a;""b"', "$$", "$a$",
    "$a", "$1", "a$b$", "--", "\n", "\r", "/*", "*/", "/", "*", ";", " ", "\t", "(", ")", "x", "E", "1",
    "1e", "0x1", "as ", ",", "||", "-", "begin atomic ", "end", "case ", "when ", "Ä", "U&'", "b'0'",
]  # fmt: skip
text_of_fragments = st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join)

VALUES = [
    "1", "'a;b'", "'it''s;'", "E'a\\';b'", "$$;$$", "$q$ ; $$ ; $q$", "(select 2)", 'null as "a;b"',
    "'a' -- ;\n 'b'", "E'a'\n'\\';b'", "/* ; /* ; */ ; */ 3", "4 -- it's ;\n", "case when true then 5 end",
    "'x' \n --'\n ';y'", "U&'\\0041;'", "b'01'", "5/2", "-1", "'$$;'", "$_a1$';$_a1$", "6 as end",
]  # fmt: skip


@given(st.one_of(st.text(), text_of_fragments))
@settings(max_examples=400)
@example("select 1;;; -- x")
@example(";")
def test_the_pieces_joined_are_the_text(text: str) -> None:
    try:
        pieces = split(text)
    except Unterminated as exc:
        assert 0 <= exc.offset < len(text)  # noqa: PT017 -- not every text raises it
        return
    assert "".join(piece.text for piece in pieces) == text
    for piece in pieces:
        assert text[piece.offset :].startswith(piece.text)
        for word in piece.words:
            assert piece.text[word.start : word.end].upper() == word.text.upper()


@given(
    st.lists(st.sampled_from(VALUES), min_size=1, max_size=6), st.sampled_from(["", "\n", " --;\n"])
)
def test_each_statement_is_one_piece(values: list[str], between: str) -> None:
    statements = [f"select {value}" for value in values]
    pieces = split(f";{between}".join(statements))
    assert len([piece for piece in pieces if not piece.blank]) == len(statements)


@pytest.fixture(scope="module")
def server(postgres_dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres_dsn, autocommit=True) as conn:
        yield conn


@given(st.lists(st.sampled_from(VALUES), min_size=1, max_size=5))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_server_takes_each_piece_for_one_statement(
    server: psycopg.Connection, values: list[str]
) -> None:
    # Parse refuses text with more than one statement in it (42601).
    for piece in split("; ".join(f"select {value}" for value in values)):
        result = server.pgconn.prepare(b"", piece.text.encode())
        assert result.status == pq.ExecStatus.COMMAND_OK, (piece.text, result.get_error_message())


@given(text_of_fragments)
@settings(
    max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@example("select E'a'\n'\\';'; select 1")
@example("select 1 as a$b$; select 2 as c$b$")
@example("select $a$;$a;$a$; select 1")
@example("select '\\'; select 1")
@example("select 1 -- '\r; select 2")
@example('select 1 as "/*"; select /* "*/ 2')
@example("select 1 as e, E'\\''")
@example("select 1$$;$$")
@example("E'''\\'")
def test_the_server_counts_as_many_statements_as_we_do(
    server: psycopg.Connection, text: str
) -> None:
    server.pgconn.send_query(text.encode())
    results = []
    while (result := server.pgconn.get_result()) is not None:
        results.append(result)
    refused = results[-1].status == pq.ExecStatus.FATAL_ERROR
    try:
        pieces = [piece for piece in split(text) if not piece.blank]
    except Unterminated:
        assert refused
        return
    if refused:
        assert not results[-1].get_error_message().lower().count("unterminated"), text
        return
    empty = results[0].status == pq.ExecStatus.EMPTY_QUERY
    assert len(pieces) == (0 if empty else len(results))


def test_a_routine_with_a_body_of_statements_is_one_statement() -> None:
    text = (
        "create or replace function f(a int) returns int begin atomic select 1;"
        " select case when a = 1 then 2 end; end; select 2;"
        "create procedure p() begin atomic; end; select 3"
    )
    first, second, third, fourth = split(text)
    assert first.text.endswith("end;")
    assert second.text == " select 2;"
    assert third.begins("CREATE", "PROCEDURE")
    assert fourth.text == " select 3"


def test_begin_outside_of_a_routine_is_a_statement() -> None:
    assert len(split("begin; select 1; end;")) == 3


def test_a_rule_with_several_actions_is_one_statement() -> None:
    assert len(split("create rule r as on insert to t do also (select 1; select 2); select 3")) == 2


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("select 'a", "a string '"),
        ("select E'a\\'", "a string E'"),
        ('select "a', 'a quoted name "'),
        ("select $a$ $b$", "a string $a$"),
        ("/* /* */", "a comment /*"),
    ],
)
def test_what_is_never_closed_is_named_with_its_place(text: str, what: str) -> None:
    with pytest.raises(Unterminated) as info:
        split(f"select 1;\n{text}")
    assert str(info.value) == f"{what} is never closed"
    assert info.value.offset >= 10


def test_a_word_is_a_name_as_the_server_folds_it() -> None:
    (piece,) = split('create Table My."Own ""one"""')
    assert [word.name for word in piece.words] == ["create", "table", "my", 'Own "one"']
    assert [word.glued for word in piece.words] == [False, False, False, True]


def test_a_megabyte_is_split_in_one_pass() -> None:
    text = "insert into t values ('it''s; x', $$ ; $$); -- ;\n" * 20_000
    assert len(split(text)) == 20_000
