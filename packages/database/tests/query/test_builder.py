"""What the builder makes, and that nothing which is passed as a value or a name becomes SQL."""

from __future__ import annotations

import doctest
import importlib
import itertools
import pkgutil
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from psycopg import sql

import mtenant_database.query
from mtenant_database import query as q

contacts = q.table("contacts")
deals = q.table("deals", alias="d")
any_q: Any = q  # a type checker refuses most of the mistakes below
any_c: Any = contacts
any_d: Any = deals

_ANY = st.characters(codec="utf-8", exclude_characters="\0")
NAMES = st.text(_ANY | st.sampled_from("\"%'\\;$ "), min_size=1, max_size=15)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**62), 2**62),
    st.text(_ANY, max_size=30),
    st.lists(st.integers(-100, 100), max_size=3),
)


def text(statement: Any) -> str:
    return str(statement.build().query.as_string())


def test_a_query_reads_like_what_it_says() -> None:
    query = (
        q.select(contacts["id"], contacts["name"].as_("called"), from_=contacts)
        .join(deals, contacts["id"] == deals["contact_id"], how="left")
        .where(contacts["status"] == "active", (deals["amount"] > 10) | deals["amount"].is_null())
        .order_by(contacts["name"].desc(nulls="last"), contacts["id"])
        .limit(5)
        .offset(10)
        .for_update(skip_locked=True)
    )

    assert text(query) == (
        'SELECT "contacts"."id", "contacts"."name" AS "called" FROM "contacts"'
        ' LEFT JOIN "deals" AS "d" ON "contacts"."id" = "d"."contact_id"'
        ' WHERE "contacts"."status" = %s AND ("d"."amount" > %s OR "d"."amount" IS NULL)'
        ' ORDER BY "contacts"."name" DESC NULLS LAST, "contacts"."id" ASC'
        " LIMIT %s OFFSET %s FOR UPDATE SKIP LOCKED"
    )
    assert query.build().params == ["active", 10, 5, 10]


def test_one_query_is_the_start_of_many() -> None:
    start = q.select(from_=contacts).where(contacts["id"] > 1)
    start.where(contacts["id"] < 9).limit(1)

    assert text(start) == 'SELECT * FROM "contacts" WHERE "contacts"."id" > %s'


def test_filters_that_were_not_given_are_left_out() -> None:
    def search(name: str | None, status: str | None) -> q.Select:
        return q.select(from_=contacts).where(
            q.given(contacts["name"].contains, name), q.given(contacts["status"].eq, status)
        )

    assert text(search(None, None)) == 'SELECT * FROM "contacts"'
    assert search("50%_", None).build().params == [r"%50\%\_%"]
    assert search("a", "b").build().params == ["%a%", "b"]


def test_none_is_null() -> None:
    assert (contacts["a"] == None).text == '"contacts"."a" IS NULL'  # noqa: E711
    assert (contacts["a"] != None).text == '"contacts"."a" IS NOT NULL'  # noqa: E711


def test_changes_say_which_rows() -> None:
    change = q.update(contacts, name="Ada", version=contacts["version"] + 1)

    with pytest.raises(ValueError, match="all_rows"):
        change.build()
    with pytest.raises(ValueError, match="all_rows"):
        q.delete(contacts).where(q.given(contacts["id"].eq, None)).build()
    assert text(q.delete(contacts).all_rows()) == 'DELETE FROM "contacts"'
    assert text(change.where(contacts["id"] == 1).returning(contacts["version"])) == (
        'UPDATE "contacts" SET "name" = %s, "version" = ("contacts"."version" + %s)'
        ' WHERE "contacts"."id" = %s RETURNING "contacts"."version"'
    )


def test_rows_are_inserted_or_overwritten() -> None:
    rows = [{"id": 1, "name": "a"}, {"name": "b", "id": 2}]
    inserted = q.insert(contacts, rows).on_conflict_update("id", set_=["name"]).returning()

    assert text(inserted) == (
        'INSERT INTO "contacts" ("id", "name") VALUES (%s, %s), (%s, %s)'
        ' ON CONFLICT ("id") DO UPDATE SET "name" = EXCLUDED."name" RETURNING *'
    )
    assert inserted.build().params == [1, "a", 2, "b"]
    assert text(q.insert(contacts, {}).on_conflict_do_nothing()) == (
        'INSERT INTO "contacts" DEFAULT VALUES ON CONFLICT DO NOTHING'
    )


@pytest.mark.parametrize(
    ("mistake", "error", "said"),
    [
        (lambda: any_q.select("name", from_=any_c), TypeError, r'table\["name"\]'),
        (lambda: any_q.select(from_=any_c).where("1=1"), TypeError, "no condition"),
        (lambda: any_q.raw("1=1"), TypeError, r"sql\.SQL"),
        (lambda: any_q.raw(sql.SQL("a = %s")), ValueError, "1 placeholders, and 0"),
        (lambda: any_q.select(from_=any_c).limit(-1), ValueError, "0 or more"),
        (lambda: any_q.select(from_=any_c).limit("1; drop"), TypeError, "whole number"),
        (lambda: any_q.select(from_=any_c).limit(True), TypeError, "whole number"),
        (lambda: any_q.select(from_=any_c).join(any_d, any_c["a"] == 1, how="x"), ValueError, "inner"),
        (lambda: any_c["a"].asc(nulls="x; --"), ValueError, "first"),
        (lambda: any_c["a"].in_("abc"), TypeError, "list"),
        (lambda: any_c["a"] == {"a": 1}, TypeError, "one value"),
        (lambda: bool(any_c["a"] == 1), TypeError, "& for and"),
        (lambda: (any_c["a"] == 1) & True, TypeError, "condition"),
        (lambda: any_c[""], ValueError, "no name"),
        (lambda: any_c["a\0"], ValueError, "no name"),
        (lambda: any_c["a" * 64], ValueError, "63"),
        (lambda: any_c[1], TypeError, "name is text"),
        (lambda: any_q.insert(any_c, []), ValueError, "no row"),
        (lambda: any_q.insert(any_c, [{}, {}]), ValueError, "without columns"),
        (lambda: any_q.insert(any_c, [{"a": 1}, {"b": 1}]), ValueError, "row 1 .*a, b"),
        (lambda: any_q.insert(any_c, {"a": 1}).on_conflict_update("a", set_=["b"]), ValueError, "b"),
        (lambda: any_q.insert(any_c, {"a": 1}).on_conflict_update(set_=["a"]), ValueError, "which"),
        (lambda: any_q.update(any_c), ValueError, "no value"),
        (lambda: any_q.select(from_=any_c).after(1), ValueError, "order_by"),
        (lambda: any_q.select(from_=any_c).order_by(any_c["a"]).after(1, 2), ValueError, "2 values"),
        (lambda: any_q.select(from_=any_c).order_by(any_c["a"]).after(None), ValueError, "coalesce"),
    ],
    ids=itertools.count(),
)  # fmt: skip
def test_a_mistake_says_what_to_write(
    mistake: Callable[[], object], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        mistake()


def _everything(name: str, value: object) -> list[Any]:
    table = q.table(name, schema=name)
    column = table[name]
    where = (
        (column == value) & ~(column != value) | column.in_([value]) | column.between(value, value)
    )
    return [
        q.select(column.as_(name), q.value(value), q.coalesce(column, value), from_=table)
        .where(where, column.startswith(str(value)), column.contains(str(value)))
        .order_by(column),
        q.insert(table, {name: value}).on_conflict_update(name, set_=[name]),
        q.update(table, {name: value}).where(column > value),
        q.delete(table).where(column <= value),
    ]


@given(name=NAMES, value=VALUES, other=VALUES)
def test_the_text_does_not_depend_on_a_value(name: str, value: object, other: object) -> None:
    if (value is None) == (other is None):  # NULL has words of its own
        both = zip(_everything(name, value), _everything(name, other), strict=True)
        for one, another in both:
            assert text(one) == text(another)
            assert text(one).replace("%%", "").count("%s") == len(one.build().params)


@pytest.fixture(scope="module")
def connection(postgres_dsn: str) -> Any:
    with psycopg.connect(postgres_dsn) as conn:
        yield conn


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(name=NAMES, alias=NAMES, stored=st.lists(VALUES, max_size=4), value=VALUES)
def test_any_name_and_any_value_come_back_from_a_server(
    connection: psycopg.Connection[Any], name: str, alias: str, stored: list[object], value: object
) -> None:
    assume(name != "n")
    table = q.table(name, alias=alias)
    column = table[name]
    texts = [None if one is None else str(one) for one in stored]
    wanted = str(value)
    with connection.transaction(force_rollback=True):
        create = sql.SQL("create temp table {} (n int, {} text)")
        connection.execute(
            create.format(sql.Identifier(name), sql.Identifier(name + "n" if name == "n" else name))
        )
        if name == "n":
            return
        rows = [{"n": number, name: one} for number, one in enumerate(texts)]
        if rows:
            connection.execute(*q.insert(q.table(name), rows).build())

        def found(condition: q.Condition) -> list[int]:
            query = q.select(table["n"], from_=table).where(condition).order_by(table["n"])
            return [row[0] for row in connection.execute(*query.build())]

        def matching(predicate: Callable[[str], bool]) -> list[int]:
            return [n for n, one in enumerate(texts) if one is not None and predicate(one)]

        assert found(column == wanted) == matching(lambda one: one == wanted)
        assert found(column != wanted) == matching(lambda one: one != wanted)
        assert found(column.in_([wanted, "x"])) == matching(lambda one: one in {wanted, "x"})
        assert found(column.in_([])) == []
        assert found(column.startswith(wanted)) == matching(lambda one: one.startswith(wanted))
        assert found(column.is_null()) == [n for n, one in enumerate(texts) if one is None]
        labelled = q.select(column.as_(alias), from_=table)
        assert connection.execute(*labelled.build()).description[0].name == alias  # type: ignore[index]
        changed = q.update(q.table(name), {name: value and str(value)}).all_rows()
        assert connection.execute(*changed.build()).rowcount == len(texts)


def test_the_public_names_are_sorted_documented_and_their_examples_hold() -> None:
    assert mtenant_database.query.__all__ == sorted(mtenant_database.query.__all__)
    for name in mtenant_database.query.__all__:
        assert getattr(mtenant_database.query, name).__doc__, name
    for module in pkgutil.iter_modules(mtenant_database.query.__path__, "mtenant_database.query."):
        assert doctest.testmod(importlib.import_module(module.name)).failed == 0
    assert doctest.testmod(mtenant_database.query).attempted
