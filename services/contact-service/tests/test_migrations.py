from __future__ import annotations

import pytest

from contact_service import MIGRATIONS
from mtenant_chassis.testing import Place, shared_tables_that_return, tenant_tables_that_return
from mtenant_config import Secret
from mtenant_database import Database, DatabaseConfig, PermissionDenied

pytestmark = pytest.mark.anyio

SHARED = {"contact_import_queue"}
TENANT = {"contacts", "companies", "custom_fields", "imports", "import_rows"}


@pytest.fixture
def lonely(postgres_dsn: str) -> Place:
    """A database of its own: whose tables may go."""
    return Place.make(postgres_dsn, {"contact": MIGRATIONS})


async def test_all_tables_go_and_come_again(lonely: Place) -> None:
    tenant = await lonely.new_tenant()
    assert await tenant_tables_that_return(lonely, tenant, "contact", MIGRATIONS) == TENANT
    assert await shared_tables_that_return(lonely, "contact", MIGRATIONS) == SHARED


@pytest.mark.parametrize("who", ["app", "owner"])
async def test_a_transaction_of_a_tenant_sees_its_own_imports_in_the_queue(
    place: Place, who: str
) -> None:
    mine, theirs = await place.new_tenant(), await place.new_tenant()
    for tenant in (mine, theirs):
        place.rows(
            "insert into shared.contact_import_queue (id, tenant, due_at)"
            f" values (gen_random_uuid(), '{tenant}', now() + interval '1 day')"
        )
    url = Secret(place.owner if who == "owner" else place.app)
    async with Database(DatabaseConfig(url=url, max_retries=0, max_open_conns=2)) as database:
        handle = database if who == "owner" else database.tenant(mine)  # or of no tenant
        query = "select tenant from shared.contact_import_queue"
        assert await handle.fetch_all(query) == ([] if who == "owner" else [(mine,)])
        with pytest.raises(PermissionDenied):
            await handle.execute(
                "insert into shared.contact_import_queue values (gen_random_uuid(), %s, now())",
                [theirs],
            )
    place.rows(f"delete from shared.contact_import_queue where tenant in ('{mine}', '{theirs}')")
