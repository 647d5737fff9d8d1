from __future__ import annotations

import pytest

from deal_service import MIGRATIONS
from mtenant_chassis.testing import Place
from mtenant_database.migrate import Fleet

pytestmark = pytest.mark.anyio

TENANT = {"pipelines", "stages", "lost_reasons", "deals", "deal_visits", "deal_contacts"}


@pytest.fixture
def lonely(postgres_dsn: str) -> Place:
    """A database of its own: whose tables may go."""
    return Place.make(postgres_dsn, {"deal": MIGRATIONS})


def tables(place: Place, schema: str) -> set[str]:
    found = place.rows(f"select tablename from pg_tables where schemaname = '{schema}'")
    return {row[0] for row in found}


async def test_a_tenants_tables_go_and_come_again(lonely: Place) -> None:
    schema = f"tenant_{await lonely.new_tenant()}"
    before = tables(lonely, schema)
    async with Fleet(lonely.owner, settings=lonely.migrate) as fleet:
        assert (await fleet.to("deal", 0)).exit_code == 0
        assert before - tables(lonely, schema) == TENANT
        assert (await fleet.to("deal", 1)).exit_code == 0
    assert tables(lonely, schema) == before
    assert lonely.rows(f"select count(*) from {schema}.stages") == [(6,)]


async def test_two_tenants_share_no_id(lonely: Place) -> None:
    schemas = [f"tenant_{await lonely.new_tenant()}" for _ in range(2)]
    ids = {
        row[0]
        for schema in schemas
        for table in ("pipelines", "stages", "lost_reasons")
        for row in lonely.rows(f"select id from {schema}.{table}")
    }
    assert len(ids) == 2 * (1 + 6 + 6)
