from __future__ import annotations

import pytest

from deal_service import MIGRATIONS
from mtenant_chassis.testing import Place, tenant_tables_that_return

pytestmark = pytest.mark.anyio

TENANT = {
    "pipelines",
    "stages",
    "lost_reasons",
    "deals",
    "deal_visits",
    "deal_contacts",
    "merged_contacts",
    "deal_custom_fields",
}


@pytest.fixture
def lonely(postgres_dsn: str) -> Place:
    """A database of its own: whose tables may go."""
    return Place.make(postgres_dsn, {"deal": MIGRATIONS})


async def test_a_tenants_tables_go_and_come_again(lonely: Place) -> None:
    tenant = await lonely.new_tenant()
    assert await tenant_tables_that_return(lonely, tenant, "deal", MIGRATIONS) == TENANT
    assert lonely.rows(f"select count(*) from tenant_{tenant}.stages") == [(6,)]


async def test_two_tenants_share_no_id(lonely: Place) -> None:
    schemas = [f"tenant_{await lonely.new_tenant()}" for _ in range(2)]
    ids = {
        row[0]
        for schema in schemas
        for table in ("pipelines", "stages", "lost_reasons")
        for row in lonely.rows(f"select id from {schema}.{table}")
    }
    assert len(ids) == 2 * (1 + 6 + 6)
