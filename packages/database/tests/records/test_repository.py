"""Repositories on a server: what they find, what they refuse, and how many round trips it takes."""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass, field, replace
from typing import Annotated, Any
from uuid import UUID

import pytest

from mtenant_database.database import Database
from mtenant_database.errors import (
    ConstraintConflict,
    RowNotFound,
    StaleVersion,
    StillReferenced,
    TransactionOpen,
)
from mtenant_database.records import (
    Auditable,
    Col,
    Entity,
    Repository,
    TenantScoped,
    Versioned,
    acting_as,
    current_actor,
    ddl,
    new_id,
)

pytestmark = pytest.mark.anyio


class Status(enum.Enum):
    LEAD = "lead"
    CUSTOMER = "customer"


@dataclass(kw_only=True)
class Company(Entity):
    __tablename__ = "companies"
    name: str


@dataclass(kw_only=True)
class Contact(Versioned, Auditable, Entity):
    __tablename__ = "people"
    name: str
    email: Annotated[str | None, Col(unique=True)] = None
    status: Status = Status.LEAD
    tags: list[str] = field(default_factory=list)
    custom: dict[str, Any] = field(default_factory=dict)
    company_id: Annotated[UUID | None, Col(references="companies.id", index=True)] = None


@dataclass(kw_only=True)
class Word:
    __tablename__ = "words"
    id: Annotated[int, Col(primary_key=True)]
    text: Annotated[str, Col(unique=True)]


class Companies(Repository[Company], entity=Company):
    pass


class Contacts(Repository[Contact], entity=Contact):
    async def by_email(self, email: str) -> Contact | None:
        return await self.find(self.table["email"] == email)


class Words(Repository[Word], entity=Word):
    pass


@pytest.fixture
def tenant(place: Any) -> str:
    return str(place.fresh(*(one for one in ddl(Company, Contact, Word).split(";\n") if one)))


@pytest.fixture
def acme(db: Database, tenant: str) -> Any:
    return db.tenant(tenant)


async def test_a_row_comes_back_as_it_was_created(acme: Any) -> None:
    ada = Contact(name="Ada", email="ada@example.com", tags=["new"], custom={"a": [1, None]})
    with acting_as("user-1"):
        stored = await Contacts(acme).create(ada)

    assert stored.created_at is not None
    assert stored.created_at == stored.updated_at
    assert stored == replace(
        ada,
        created_at=stored.created_at,
        updated_at=stored.updated_at,
        created_by="user-1",
        updated_by="user-1",
    )
    assert await Contacts(acme).get(ada.id) == stored
    assert await Contacts(acme).by_email("ada@example.com") == stored
    assert await Contacts(acme).by_email("bob@example.com") is None
    assert await Contacts(acme).exists(Contacts.table["name"] == "Ada")
    assert not await Contacts(acme).exists(Contacts.table["name"] == "Bob")
    assert current_actor() is None


async def test_an_update_raises_the_version_and_says_who(acme: Any) -> None:
    contacts = Contacts(acme)
    with acting_as("user-1"):
        ada = await contacts.create(Contact(name="Ada"))
    with acting_as("user-2"):
        changed = await contacts.update(replace(ada, name="Ada L.", status=Status.CUSTOMER))

    assert (changed.version, changed.created_by, changed.updated_by) == (2, "user-1", "user-2")
    assert (changed.name, changed.status) == ("Ada L.", Status.CUSTOMER)
    assert changed.updated_at is not None
    assert ada.updated_at is not None
    assert changed.updated_at > ada.updated_at
    with pytest.raises(StaleVersion) as caught:
        await contacts.update(ada)
    assert caught.value.status_code == 412
    with pytest.raises(RowNotFound):
        await contacts.update(Contact(name="nobody"))


async def test_of_twenty_writers_at_once_each_version_has_one(db: Database, acme: Any) -> None:
    first = await Contacts(acme).create(Contact(name="0"))

    async def write(number: int) -> bool:
        try:
            await Contacts(acme).update(replace(first, name=str(number)))
        except StaleVersion:
            return False
        return True

    async def until_done(number: int) -> None:
        while True:
            seen = await Contacts(acme).get(first.id)
            try:
                await Contacts(acme).update(replace(seen, tags=[*seen.tags, str(number)]))
            except StaleVersion:
                continue
            return

    assert sum(await asyncio.gather(*(write(number) for number in range(20)))) == 1
    await asyncio.gather(*(until_done(number) for number in range(20)))
    last = await Contacts(acme).get(first.id)
    assert last.version == 22
    assert sorted(map(int, last.tags)) == list(range(20))


async def test_what_is_deleted_is_not_found_and_comes_back(acme: Any) -> None:
    contacts = Contacts(acme)
    ada = await contacts.create(Contact(name="Ada", email="a@example.com"))
    with acting_as("user-3"):
        await contacts.delete(ada.id, version=1)

    with pytest.raises(RowNotFound):
        await contacts.get(ada.id)
    with pytest.raises(RowNotFound):
        await contacts.delete(ada.id)
    with pytest.raises(RowNotFound):
        await contacts.update(ada)
    assert await contacts.by_email("a@example.com") is None
    assert (await contacts.list()).items == []
    assert await contacts.get_many([ada.id]) == {}
    assert await acme.fetch_value("select deleted_by from people") == "user-3"

    back = await contacts.restore(ada.id)
    assert (back.deleted_at, back.deleted_by, back.version) == (None, None, 3)
    with pytest.raises(RowNotFound):
        await contacts.restore(ada.id)
    with pytest.raises(StaleVersion):
        await contacts.delete(ada.id, version=1)


async def test_a_unique_value_of_a_deleted_row_may_be_taken_and_then_it_stays_deleted(
    acme: Any,
) -> None:
    contacts = Contacts(acme)
    first = await contacts.create(Contact(name="first", email="a@example.com"))
    with pytest.raises(ConstraintConflict):
        await contacts.create(Contact(name="second", email="a@example.com"))
    await contacts.delete(first.id)
    second = await contacts.create(Contact(name="second", email="a@example.com"))

    with pytest.raises(ConstraintConflict):
        await contacts.restore(first.id)
    await contacts.purge(second.id)
    assert (await contacts.restore(first.id)).name == "first"
    with pytest.raises(RowNotFound):
        await contacts.purge(second.id)


async def test_rows_are_created_all_or_none_and_come_back_in_order(acme: Any) -> None:
    contacts = Contacts(acme)
    assert await contacts.create_many([]) == []
    names = [str(number) for number in range(50)]
    made = await contacts.create_many(Contact(name=name) for name in names)
    assert [one.name for one in made] == names

    twice = [Contact(name="x", email="x@example.com"), Contact(name="y", email="x@example.com")]
    with pytest.raises(ConstraintConflict):
        await contacts.create_many(twice)
    assert await contacts.count() == 50


async def test_pages_go_by_the_order_and_end(acme: Any) -> None:
    contacts = Contacts(acme)
    await contacts.create_many(Contact(name="abc"[number % 3]) for number in range(10))
    found: list[Contact] = []
    after = None
    while True:
        page = await contacts.list(order=[Contacts.table["name"].desc()], size=3, after=after)
        found += page.items
        if (after := page.next) is None:
            break
    assert [one.name for one in found] == sorted((one.name for one in found), reverse=True)
    assert len({one.id for one in found}) == 10
    assert isinstance(found[0].status, Status)


async def test_nothing_that_it_offers_asks_for_row_after_row(
    place: Any, proxy: Any, tenant: str
) -> None:
    config = place.config(url=proxy.url, max_open_conns=1, max_idle_conns=1)
    async with Database(config) as db:
        acme = db.tenant(tenant)
        companies = await Companies(acme).create_many(Company(name=str(n)) for n in range(5))
        contacts = Contacts(acme)
        rows = [Contact(name=str(n), company_id=companies[n % 5].id) for n in range(40)]

        async def trips(awaitable: Any) -> tuple[int, Any]:
            before = proxy.trips
            result = await awaitable
            return proxy.trips - before, result

        assert (await trips(contacts.create_many(rows)))[0] == 1
        # An INSERT or UPDATE with RETURNING is known as a write by its first word.
        assert (await trips(contacts.get(rows[0].id)))[0] == 1
        assert (await trips(contacts.get_many([row.id for row in rows])))[0] == 1
        count, page = await trips(contacts.list(size=20))
        assert (count, len(page.items)) == (1, 20)
        count, related = await trips(
            contacts.load_related(page.items, "company_id", Companies(acme))
        )
        assert count == 1
        assert related == {one.id: one for one in companies}
        assert (await trips(contacts.update(page.items[0])))[0] == 1
        assert (await trips(contacts.delete(page.items[1].id)))[0] == 1
        assert (await trips(contacts.load_related([], "company_id", Companies(acme)))) == (0, {})


async def test_it_works_inside_a_transaction_that_is_rolled_back(acme: Any) -> None:
    async def work() -> None:
        async with acme.transaction() as tx:
            company = await Companies(tx).create(Company(name="inside"))
            assert await Companies(tx).get(company.id) == company
            with pytest.raises(TransactionOpen):
                await Companies(acme).get(company.id)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work()
    assert await Companies(acme).count() == 0


async def test_an_entity_without_deletion_is_deleted(acme: Any) -> None:
    words = Words(acme)
    await words.create_many([Word(id=1, text="a"), Word(id=2, text="b")])
    assert await words.update(Word(id=1, text="c")) == Word(id=1, text="c")
    await words.delete(1)
    with pytest.raises(RowNotFound):
        await words.delete(1)
    assert (await words.list()).items == [Word(id=2, text="b")]


async def test_a_row_that_others_point_to_is_not_purged(acme: Any) -> None:
    company = await Companies(acme).create(Company(name="a"))
    await Contacts(acme).create(Contact(name="b", company_id=company.id))
    with pytest.raises(StillReferenced):
        await Companies(acme).purge(company.id)


async def test_one_tenant_does_not_find_the_row_of_another(
    db: Database, place: Any, acme: Any
) -> None:
    other = db.tenant(place.fresh(*(one for one in ddl(Company, Contact).split(";\n") if one)))
    ada = await Contacts(acme).create(Contact(name="Ada"))
    for call in (Contacts(other).get, Contacts(other).delete, Contacts(other).purge):
        with pytest.raises(RowNotFound):
            await call(ada.id)
    assert await Contacts(acme).get(ada.id) == ada


async def test_a_shared_table_gets_the_tenant_from_the_scope(db: Database, place: Any) -> None:
    @dataclass(kw_only=True)
    class Job(TenantScoped, Entity):
        __tablename__ = "jobs"
        name: str

    class Jobs(Repository[Job], entity=Job):
        pass

    tenant = place.fresh(*(one for one in ddl(Job).split(";\n") if one))
    assert (await Jobs(db.tenant(tenant)).create(Job(name="a"))).tenant_id == tenant


def test_a_repository_says_what_it_lacks() -> None:
    with pytest.raises(TypeError, match="entity=Contact"):
        Repository[Contact](None)  # type: ignore[arg-type]


def test_ids_grow_with_time() -> None:
    ids = [new_id() for _ in range(100)]
    assert {one.version for one in ids} == {7}
    assert {one.variant for one in ids} == {"specified in RFC 4122"}
    assert [one.int >> 80 for one in ids] == sorted(one.int >> 80 for one in ids)
    assert len({*ids}) == 100
