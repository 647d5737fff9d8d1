from __future__ import annotations

import doctest
import re
from typing import Any

import psycopg
import psycopg_pool
import pytest

import mtenant_database.sqlstate
from mtenant_database import errors
from mtenant_database.database import Database
from mtenant_database.errors import (
    DatabaseFault,
    DatabaseUnavailable,
    InvalidValue,
    PoolExhausted,
    StatementFault,
    StillReferenced,
)
from mtenant_database.sqlstate import TABLE, error_class, translate
from mtenant_errors import AppError, ServiceUnavailable

pytestmark = pytest.mark.anyio

# Those with which PostgreSQL closes the connection cannot be raised by a statement.
RAISED = sorted(code if len(code) == 5 else f"{code}999" for code in TABLE if code != "57014")


@pytest.mark.parametrize("code", RAISED)
async def test_every_row_of_the_table_arrives_as_its_error(
    db: Database, place: Any, code: str
) -> None:
    handle = db.tenant(place.fresh())

    with pytest.raises(AppError) as caught:
        await handle.execute(f"do $$begin raise exception 'told' using errcode = '{code}'; end$$")

    assert type(caught.value) is error_class(code)
    assert isinstance(caught.value.__cause__, psycopg.Error)
    assert caught.value.__cause__.sqlstate == code
    assert code in str(caught.value.internal)
    assert "told" not in caught.value.message


def test_the_table_has_classes_and_codes_in_order() -> None:
    assert list(TABLE) == sorted(TABLE)
    assert all(re.fullmatch(r"[0-9A-Z]{2}([0-9A-Z]{3})?", code) for code in TABLE)


def test_every_error_is_a_kind_with_a_code_of_its_own() -> None:
    named = vars(errors).values()
    classes = [cls for cls in named if isinstance(cls, type) and issubclass(cls, AppError)]
    ours = [cls for cls in classes if cls.__module__ == "mtenant_database.errors"]
    codes = [cls.code for cls in ours]

    assert len(codes) == len(set(codes))
    assert len(ours) > 20
    for cls in ours:
        assert cls.__name__ in str(errors.__doc__)


@pytest.mark.parametrize(
    ("code", "retryable"),
    [
        ("40001", True),
        ("40P01", True),
        ("55P03", True),
        ("57P01", True),
        ("53300", True),
        ("08006", True),
        ("08007", False),
        ("57014", False),
        ("23505", False),
        ("53100", False),
        ("XX000", False),
        ("ZZ999", False),
    ],
)
def test_only_what_did_nothing_may_be_sent_again(code: str, retryable: bool) -> None:
    assert error_class(code).retryable is retryable


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (psycopg_pool.PoolTimeout("late"), PoolExhausted),
        (psycopg_pool.TooManyRequests("full"), PoolExhausted),
        (psycopg_pool.PoolClosed("closed"), DatabaseUnavailable),
        (psycopg.OperationalError("connection failed"), DatabaseUnavailable),
        (psycopg.ProgrammingError("placeholders"), StatementFault),
        (psycopg.InterfaceError("cursor"), StatementFault),
        (psycopg.DataError("secret"), InvalidValue),
        (psycopg.DatabaseError("what"), DatabaseFault),
    ],
)
def test_errors_of_the_client_side_have_a_place_too(
    raised: Exception, expected: type[AppError]
) -> None:
    error = translate(raised)

    assert type(error) is expected
    assert error.__cause__ is raised
    assert "secret" not in str(error.internal)


def test_a_typed_error_is_left_as_it_is() -> None:
    error = StillReferenced(constraint="x")

    assert translate(error) is error


def test_the_docstrings_hold() -> None:
    result = doctest.testmod(mtenant_database.sqlstate)

    assert result.attempted > 0
    assert result.failed == 0


def test_each_retryable_503_says_when_to_come_again() -> None:
    classes = [cls for cls in vars(errors).values() if isinstance(cls, type)]
    unavailable = [
        cls
        for cls in classes
        if issubclass(cls, ServiceUnavailable) and cls is not ServiceUnavailable and cls.retryable
    ]

    assert errors.DatabaseUnavailable in unavailable
    for cls in unavailable:
        if cls is not errors.ReadOnlyDatabase:  # a failover has no usual length
            assert "retry-after" in {name.lower() for name in cls().to_headers()}, cls
