"""What entities say and a schema has not, written as a migration that then makes it so."""

from __future__ import annotations

import doctest
import enum
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest

import mtenant_database.records
from mtenant_database.database import Database
from mtenant_database.migrate import Migrator, read_migrations
from mtenant_database.records import (
    Auditable,
    Col,
    Difference,
    Entity,
    Index,
    Versioned,
    ddl,
    diff,
)
from mtenant_database.records.entity import describe

pytestmark = pytest.mark.anyio


class Colour(enum.Enum):
    RED = "red"
    ODD = "it's"


@dataclass(kw_only=True)
class Company(Entity):
    __tablename__ = "companies"
    name: str


@dataclass(kw_only=True)
class Deal(Versioned, Auditable, Entity):
    __tablename__ = "deals"
    __indexes__ = (
        Index("stage", "amount"),
        Index("title", unique=True, where="stage <> 'lost'"),
        Index("title", "stage"),
    )
    __checks__ = ("amount >= 0 or stage = 'lost'",)
    title: Annotated[str, Col(type="varchar(200)")]
    amount: Annotated[Decimal, Col(type="numeric(12,2)", default="0", check="amount < 1e9")]
    stage: Literal["open", "won", "lost"] = "open"
    colour: Colour | None = None
    company_id: Annotated[
        UUID | None, Col(references="companies.id", on_delete="set null", index=True)
    ] = None
    order: Annotated[int, Col(default="0")] = 0
    tags: Annotated[list[str], Col(default="'{}'")]
    custom: Annotated[dict[str, Any], Col(default="'{}'")]
    due: date | None = None
    at: time | None = None
    lasts: timedelta | None = None
    seen: Annotated[datetime | None, Col(index=True)] = None
    share: float | None = None
    done: Annotated[bool, Col(default="false")] = False
    blob: bytes | None = None


ENTITIES = (Company, Deal)


@pytest.fixture
async def owner(place: Any) -> AsyncIterator[Database]:
    async with Database(place.config(url=place.owner)) as database:
        yield database


async def test_the_ddl_makes_what_the_entities_say(owner: Database, place: Any) -> None:
    acme = owner.tenant(place.fresh(*(one for one in ddl(*ENTITIES).split(";\n") if one)))

    found = await diff(acme, ENTITIES)
    assert not found, str(found)
    assert str(found) == ""
    partial = await acme.fetch_all(
        "select indexname from pg_indexes where schemaname = current_schema()"
        " and indexdef like '%deleted_at IS NULL%' order by 1"
    )
    assert [name for (name,) in partial] == [
        "deals_company_id_idx",
        "deals_seen_idx",
        "deals_stage_amount_idx",
        "deals_title_key_06cd7dfd",  # the mark is for its WHERE
        "deals_title_stage_idx",
    ]
    assert not await acme.fetch_value(
        "select exists (select from pg_namespace where nspname like 'mtenant_diff_%%')"
    )


async def test_what_is_missing_is_written_and_then_it_is_there(
    owner: Database, place: Any, tmp_path: Path
) -> None:
    tenant = place.fresh(
        "create table companies (id uuid primary key default gen_random_uuid(), name text not null,"
        " created_at timestamptz not null default now(), updated_at timestamptz not null default now(),"
        " extra int)",
        "insert into companies (name) values ('old')",
    )
    acme = owner.tenant(tenant)
    found = await diff(acme, ENTITIES)
    assert [line.split("(")[0].strip() for line in found.up[:2]] == [
        "ALTER TABLE companies ADD COLUMN deleted_at timestamp with time zone;",
        "CREATE TABLE deals",
    ]
    assert found.left == ["companies.extra is there, and the entity does not have it"]
    up, down = found.write(tmp_path / "tenant", "add deals") or (None, None)
    assert up is not None and down is not None  # noqa: PT018 -- one of them alone cannot be None
    assert "-- left to you: companies.extra" in up.read_text()
    before = await _catalog(acme)

    files = read_migrations(tmp_path / "tenant", "deal").tenant
    async with Migrator(place.owner, files, schema=f"tenant_{tenant}") as migrator:
        await migrator.up()
        again = await diff(acme, ENTITIES)
        assert (again.up, again.left) == ([], found.left)
        assert again.write(tmp_path / "tenant", "nothing") is None
        await migrator.down()
    assert await _catalog(acme) == before
    assert await acme.fetch_value("select name from companies") == "old"


async def _catalog(acme: Any) -> list[Any]:
    return list(
        await acme.fetch_all(
            "select table_name, column_name, data_type from information_schema.columns"
            " where table_schema = current_schema() and table_name <> 'mtenant_ledger'"
            " order by 1, ordinal_position"
        )
    )


async def test_what_else_differs_is_named_and_left_to_a_hand(owner: Database, place: Any) -> None:
    acme = owner.tenant(
        place.fresh(
            "create table companies (id uuid primary key, name varchar(5), created_at timestamptz"
            " not null default now(), updated_at timestamptz not null default now(), deleted_at"
            " timestamptz, check (name <> ''))",
            "create index companies_x on companies (name)",
        )
    )
    found = await diff(acme, [Company])

    assert (found.up, found.down) == ([], [])
    assert found.left == [
        "companies.id has the default None, the entity says gen_random_uuid()",
        "companies.name is character varying(5), the entity says text",
        "companies.name may be NULL, the entity says it may not be NULL",
        "the index companies_x is there, and the entity does not have it",
        "companies has CHECK (((name)::text <> ''::text)), and the entity does not",
    ]


async def test_a_column_that_rows_would_lack_is_left_to_a_hand(owner: Database, place: Any) -> None:
    @dataclass(kw_only=True)
    class Named(Entity):
        __tablename__ = "named"
        title: Annotated[str, Col(index=True)]

    @dataclass(kw_only=True)
    class Unnamed(Entity):
        __tablename__ = "named"

    acme = owner.tenant(place.fresh(*(one for one in ddl(Unnamed).split(";\n") if one)))
    found = await diff(acme, [Named])
    assert found.up == []
    assert "named.title is missing" in found.left[0]


@dataclass
class NoTable:
    id: int


@dataclass
class NoKey:
    __tablename__ = "x"
    id: int


@dataclass
class NoType:
    __tablename__ = "x"
    id: Annotated[int, Col(primary_key=True)]
    what: object


@dataclass
class NoColumn:
    __tablename__ = "x"
    __indexes__ = (Index("nowhere"),)
    id: Annotated[int, Col(primary_key=True)]


@pytest.mark.parametrize(
    ("entity", "said"),
    [
        (NoTable, "__tablename__"),
        (NoKey, "primary key"),
        (NoType, r"NoType\.what .*Col\(type="),
        (NoColumn, "nowhere"),
    ],
    ids=["table", "key", "type", "index"],
)
def test_an_entity_that_says_too_little_is_an_error(entity: type[Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        describe(entity)


def test_names_are_cut_and_quoted_where_they_have_to_be() -> None:
    @dataclass(kw_only=True)
    class Long(Entity):
        __tablename__ = "a_table_with_a_name_that_is_rather_long_for_a_table"
        a_column_with_a_long_name: Annotated[int, Col(index=True)]
        order: Annotated[int, Col(index=True)]

    said = ddl(Long)
    names = [line.split()[2] for line in said.splitlines() if line.startswith("CREATE INDEX")]
    assert all(len(name.strip('"')) <= 63 for name in names)
    assert len({*names}) == 2
    assert '"order" bigint NOT NULL' in said


def test_a_difference_of_nothing_is_false() -> None:
    assert not Difference()


def test_the_public_names_are_sorted_documented_and_the_example_holds() -> None:
    records = mtenant_database.records
    assert records.__all__ == sorted(records.__all__)
    for name in records.__all__:
        assert getattr(records, name).__doc__, name
    assert doctest.testmod(records).failed == 0
