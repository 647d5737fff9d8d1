from __future__ import annotations

import string
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtenant_database.summary import _summarize, summarize


@pytest.mark.parametrize(
    ("statement", "summary"),
    [
        ("select 1", "SELECT"),
        ("select * from contacts", "SELECT contacts"),
        ("SELECT a FROM shared.tenants t, deals d WHERE x", "SELECT shared.tenants deals"),
        (
            'select * from "My Table" join lateral (select 1 from b) x on true',
            'SELECT "My Table" SELECT b',
        ),
        ("insert into deals (id) select id from leads", "INSERT deals SELECT leads"),
        ("insert into t values (1) on conflict (id) do update set x = 1", "INSERT t"),
        ("update only deals set x = 1 from leads where true", "UPDATE deals leads"),
        ("delete from deals using leads where true", "DELETE deals leads"),
        ("select * from deals for no key update of deals", "SELECT deals"),
        ("with x as (select 1 from a) update b set c = 1", "SELECT a UPDATE b"),
        ("select extract(year from at), a is distinct from b from c", "SELECT c"),
        ("merge into a using b on true when matched then update set x = 1", "MERGE a b"),
        ("create table if not exists a (id int)", "CREATE a"),
        ("truncate table a", "TRUNCATE a"),
        ("BEGIN", "BEGIN"),
        ("commit", "COMMIT"),
        ("-- select secret from x\n/* from /* y */ z */ show all", "SHOW"),
        ("values (1)", "VALUES"),
        ("((select 1 from a))", "SELECT a"),
        ("gibberish", "OTHER"),
        ("", "OTHER"),
        ("select) from a", "SELECT a"),
    ],
)
def test_a_statement_is_summed_up(statement: str, summary: str) -> None:
    assert summarize(statement).summary == summary


@pytest.mark.parametrize(
    "literal",
    [
        "'hunter2'",
        "E'a\\'hunter2'",
        "U&'hunter2'",
        "B'hunter2'",
        "$$hunter2$$",
        "$x$ $$hunter2 $x$",
        "'it''s hunter2'",
        "'hunter2",
        "E'hunter2\\'",
        "$x$hunter2",
        "-- hunter2\n1",
        "/*hunter2*/1",
        "/* a /* b */ hunter2 */ 1",
        "/* /* hunter2 */",
    ],
)
def test_a_literal_or_comment_is_not_shown(literal: str) -> None:
    shown = summarize(f"select * from a where b = {literal}")
    assert "hunter2" not in f"{shown}"
    assert shown.text.startswith("select * from a where b =")


def test_numbers_are_not_shown_and_parameters_and_names_are() -> None:
    statement = "select t1.a2 from t1 where b = 42 and c > -1.5e3 and d = 0x1F and e = $1 or f = %s"
    assert summarize(statement + " or g = %(name)s").text == (
        "select t1.a2 from t1 where b = ? and c > -? and d = ? and e = $1 or f = %s or g = %(name)s"
    )


def test_a_long_statement_is_cut() -> None:
    shown = summarize("select * from " + ", ".join(f"table_{n}" for n in range(10_000)))
    assert len(shown.text) <= 4096
    assert len(shown.summary) <= 255
    assert shown.summary.startswith("SELECT table_0 table_1")
    assert not shown.summary.endswith(("_", ","))


_WORD = st.text(string.ascii_lowercase, min_size=1, max_size=6)


@given(secret=_WORD.map("Zq9".__add__), before=st.text(max_size=20), after=st.text(max_size=20))
def test_no_text_makes_it_fail(secret: str, before: str, after: str) -> None:
    summarize(before + secret + after)


@given(secret=_WORD.map("Zq9".__add__), names=st.lists(_WORD, max_size=5))
def test_a_quoted_value_is_never_shown(secret: str, names: list[str]) -> None:
    statement = (
        f"select {', '.join(names) or 1} from t where a = '{secret}' and b in ('x', '{secret}')"
    )
    for end in range(len(statement)):
        assert secret[:3] not in f"{summarize(statement[:end])}"


@pytest.mark.parametrize(
    "text", ["(" * 4096, "$a" * 4096, "/*" * 4096, "'" * 4095, '"' * 4095, "a." * 4096]
)
def test_hostile_text_takes_about_as_long_as_any_other(text: str) -> None:
    def seconds(statement: str) -> float:
        _summarize.cache_clear()
        begun = perf_counter()
        summarize(statement)
        return perf_counter() - begun

    usual = min(seconds("select 1, a " * 350) for _ in range(3))
    assert min(seconds(text) for _ in range(3)) < 20 * usual
