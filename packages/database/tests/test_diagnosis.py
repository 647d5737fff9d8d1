from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from mtenant_database.database import Database
from mtenant_database.errors import (
    StatementFault,
    TenantNotFound,
    TenantNotReady,
    TenantSuspended,
)
from mtenant_database.migrate.registry import _TABLES as TABLES
from mtenant_errors import AppError

pytestmark = pytest.mark.anyio

MISSING = ["select * from deals", "select amount from contacts", "select close_deal(1)"]


@pytest.fixture(scope="session")
def registry(new_place: Callable[[], Any]) -> Any:
    """A database with the tables that the migrations make."""
    place = new_place()
    place.run(
        "create schema shared",
        TABLES,
        "insert into shared.components (name, head) values ('contact', 7), ('deal', 3)",
        f"grant usage on schema shared to {place.role}",
        f"grant select on all tables in schema shared to {place.role}",
    )
    return place


@pytest.fixture
async def db(registry: Any) -> AsyncIterator[Database]:
    async with Database(registry.config()) as database:
        yield database


def _tenant(registry: Any, status: str | None, contact: int = 7, deal: int = 3) -> str:
    tenant = str(registry.fresh())
    if status is not None:
        registry.run(
            f"insert into shared.tenants (id, status) values ('{tenant}', '{status}')",
            f"insert into shared.tenant_versions values ('{tenant}', 'contact', {contact}, 0),"
            f" ('{tenant}', 'deal', {deal}, 0)",
        )
    return tenant


@pytest.mark.parametrize("query", MISSING)
@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ((None, 7), TenantNotFound),
        (("suspended", 7), TenantSuspended),
        (("provisioning", 7), TenantNotReady),
        (("dropping", 7), TenantNotFound),
        (("active", 6), TenantNotReady),
        (("active", 7), StatementFault),
    ],
)
async def test_the_registry_decides_whose_fault_a_missing_name_is(
    db: Database,
    registry: Any,
    query: str,
    state: tuple[str | None, int],
    expected: type[AppError],
) -> None:
    handle = db.tenant(_tenant(registry, *state))

    async def in_transaction() -> None:
        async with handle.transaction() as tx:
            await tx.execute(query)

    for call in (lambda: handle.fetch_all(query), lambda: handle.execute(query), in_transaction):
        with pytest.raises(expected) as caught:
            await call()
        assert type(caught.value) is expected
        behind = "contact is at 6, its head is 7" in str(caught.value.internal)
        assert behind == (state == ("active", 6))
    assert await handle.fetch_value("select count(*) from contacts") == 1


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        ({"contact": 5}, StatementFault),
        ({"contact": 6, "deal": 3}, StatementFault),
        ({"contact": 7}, TenantNotReady),
        ({"report": 1}, TenantNotReady),
    ],
)
async def test_a_program_that_says_what_it_needs_is_told_apart_from_a_tenant_that_is_behind(
    registry: Any, needs: dict[str, int], expected: type[AppError]
) -> None:
    tenant = _tenant(registry, "active", contact=6)

    async with Database(registry.config(), needs=needs) as db:
        with pytest.raises(expected) as caught:
            await db.tenant(tenant).fetch_all("select * from deals")
    if expected is TenantNotReady:
        (component, version), *_ = needs.items()
        at = {"contact": 6}.get(component, 0)
        assert caught.value.detail == f"{component} is at {at}, this program needs {version}"


@pytest.mark.parametrize("first", [[], ["update contacts set name = name"]], ids=["alone", "last"])
async def test_a_statement_that_was_queued_is_told_as_every_other(
    db: Database, registry: Any, caplog: pytest.LogCaptureFixture, first: list[str]
) -> None:
    handle = db.tenant(_tenant(registry, "active", contact=6))

    async def queue(tx: Any) -> None:
        for statement in first:
            await tx.execute(statement)
        await tx.queue("insert into deals values (1)")

    with pytest.raises(TenantNotReady):
        await handle.run(queue)
    assert "rolling back returned connection" not in caplog.text


async def test_other_errors_ask_nobody(db: Database, registry: Any) -> None:
    handle = db.tenant(_tenant(registry, None))

    with pytest.raises(StatementFault):
        await handle.fetch_all("select 1/0")


async def test_without_a_registry_it_is_the_programs_fault(place: Any) -> None:
    async with Database(place.config()) as db:
        with pytest.raises(StatementFault):
            await db.tenant(place.fresh()).fetch_all("select * from deals")


async def test_without_a_tenant_it_is_the_programs_fault(db: Database) -> None:
    with pytest.raises(StatementFault):
        await db.fetch_all("select * from deals")
