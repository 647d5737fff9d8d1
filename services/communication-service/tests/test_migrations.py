from __future__ import annotations

import pytest

from communication_service import MIGRATIONS
from mtenant_chassis.testing import Place, shared_tables_that_return, tenant_tables_that_return
from mtenant_config import Secret
from mtenant_database import Database, DatabaseConfig, PermissionDenied, Verbs

pytestmark = pytest.mark.anyio

SHARED = {"communication_schedule"}
TENANT = {
    "activities",
    "activity_links",
    "email_links",
    "email_suppressions",
    "email_template_versions",
    "email_templates",
    "email_tracking",
    "emails",
    "tasks",
}


@pytest.fixture(scope="module")
def lonely(postgres_dsn: str) -> Place:
    """A database of its own: whose tables may go."""
    return Place.make(postgres_dsn, {"communication": MIGRATIONS})


async def test_a_tenants_tables_go_and_come_again(lonely: Place) -> None:
    tenant = await lonely.new_tenant()
    assert await tenant_tables_that_return(lonely, tenant, "communication", MIGRATIONS) == TENANT


async def test_the_shared_table_goes_and_comes_again(lonely: Place) -> None:
    assert await shared_tables_that_return(lonely, "communication", MIGRATIONS) == SHARED


@pytest.mark.parametrize("who", ["app", "owner"])
async def test_a_transaction_of_a_tenant_sees_and_changes_what_is_due_for_it_only(
    lonely: Place, who: str
) -> None:
    """Whatever a statement says: it has no condition on the tenant at all."""
    mine, theirs = await lonely.new_tenant(), await lonely.new_tenant()
    insert = "insert into shared.communication_schedule (id, tenant, kind, due_at) values"
    for tenant in (mine, theirs):
        lonely.rows(f"{insert} (gen_random_uuid(), '{tenant}', 'email', now())")
    url = Secret(lonely.owner if who == "owner" else lonely.app)
    async with Database(DatabaseConfig(url=url, max_retries=0, max_open_conns=2)) as database:
        handle: Verbs = database if who == "owner" else database.tenant(mine)  # or of no tenant
        seen = await handle.fetch_all("select tenant from shared.communication_schedule")
        assert seen == ([] if who == "owner" else [(mine,)])
        changed = await handle.execute("update shared.communication_schedule set attempts = 1")
        assert changed.rows_affected == (0 if who == "owner" else 1)
        with pytest.raises(PermissionDenied):
            await handle.execute(f"{insert} (gen_random_uuid(), %s, 'email', now())", [theirs])
    left = lonely.rows(
        f"select attempts from shared.communication_schedule where tenant = '{theirs}'"
    )
    assert left == [(0,)]
    lonely.rows("truncate shared.communication_schedule")
