"""Statements of the builder, sent through handles to a server."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import pytest

from mtenant_database import query as q
from mtenant_database.database import Database
from mtenant_database.errors import RowNotFound
from mtenant_database.testing import RecordingDatabase

pytestmark = pytest.mark.anyio

people = q.table("people")
SCHEMA = "create table people (id int primary key, name text not null, age int, version int)"


@dataclass
class Person:
    id: int
    name: str
    age: int | None


COLUMNS = (people["id"], people["name"], people["age"])


async def _people(db: Database, place: Any, count: int) -> Any:
    acme = db.tenant(place.fresh(SCHEMA))
    chance = random.Random(count)
    rows = [
        {"id": number, "name": chance.choice("abc"), "age": chance.randrange(3), "version": 1}
        for number in range(count)
    ]
    assert (await q.insert(people, rows).execute(acme)).rows_affected == count
    return acme


@pytest.mark.parametrize("size", [1, 3, 10, 11])
@pytest.mark.parametrize(
    "order",
    [
        (people["id"],),
        (people["name"], people["id"]),
        (people["name"].desc(), people["id"].desc()),
        (people["name"].desc(), people["age"], people["id"].desc()),
    ],
    ids=["id", "up", "down", "mixed"],
)
async def test_pages_are_the_whole_in_order(
    db: Database, place: Any, order: tuple[Any, ...], size: int
) -> None:
    acme = await _people(db, place, 10)
    query = q.select(*COLUMNS, from_=people).order_by(*order)
    whole = await query.fetch_all(acme, row=Person)

    found: list[Person] = []
    after = None
    while True:
        page = await query.fetch_page(acme, size=size, after=after, row=Person)
        found += page.items
        assert len(page.items) <= size
        if (after := page.next) is None:
            break
    assert found == whole
    assert len(whole) == 10
    assert await query.limit(2).count(acme) == 10


async def test_a_page_needs_an_order_that_is_in_the_result(db: Database, place: Any) -> None:
    acme = await _people(db, place, 3)
    query = q.select(people["name"], from_=people)

    with pytest.raises(ValueError, match="order_by"):
        await query.fetch_page(acme, size=1)
    with pytest.raises(ValueError, match="at least one row"):
        await query.order_by(people["id"]).fetch_page(acme, size=0)
    with pytest.raises(ValueError, match="select it, too"):
        await query.order_by(people["id"]).fetch_page(acme, size=1)


async def test_changes_are_sent_by_handles_and_by_transactions(db: Database, place: Any) -> None:
    acme = await _people(db, place, 3)
    change = q.update(people, version=people["version"] + 1).where(people["id"] == 1)

    assert (await change.execute(acme)).rows_affected == 1
    async with acme.transaction() as tx:
        assert await change.returning(people["version"]).fetch_value(tx) == 3
        gone = await q.delete(people).where(people["id"] > 0).returning(people["id"]).fetch_all(tx)
        assert sorted(gone) == [(1,), (2,)]
    assert await q.select(people["id"], from_=people).fetch_one(acme) == (0,)
    with pytest.raises(RowNotFound):
        await q.select(from_=people).where(people["id"] == 9).fetch_one(acme)
    assert await q.select(from_=people).where(people["id"] == 9).fetch_optional(acme) is None


async def test_a_report(db: Database, place: Any) -> None:
    acme = await _people(db, place, 50)
    other = q.table("people", alias="other")
    report = (
        q.select(
            people["name"], q.count().as_("n"), q.total(people["age"]).as_("age"), from_=people
        )
        .where(q.exists(q.select(from_=other).where(other["id"] == people["id"])))
        .where(people["id"].in_(q.select(other["id"], from_=other)))
        .group_by(people["name"])
        .having(q.count() > 1)
        .order_by(q.count().desc())
    )

    by_hand = await acme.fetch_all(
        "select name, count(*) n, sum(age) age from people group by name order by count(*) desc"
    )
    assert await report.fetch_all(acme) == by_hand


async def test_the_fake_takes_them_too() -> None:
    fake = RecordingDatabase()
    query = q.select(people["id"], from_=people).where(people["name"] == "Ada")
    fake.on(str(query.build().query.as_string()), rows=[{"id": 7}])

    assert await query.fetch_value(fake.tenant("acme")) == 7
    assert fake.recorded[0].tenant == "acme"
