from __future__ import annotations

import pytest

from mtenant_chassis.testing import Place, shared_tables_that_return, tenant_tables_that_return
from mtenant_config import Secret
from mtenant_database import Database, DatabaseConfig, PermissionDenied, Verbs
from tenant_service import MIGRATIONS

pytestmark = pytest.mark.anyio

SHARED = {"organizations", "subdomains", "registrations", "removals", "invitations"}
TENANT = {"tenant_settings", "user_preferences"}


@pytest.fixture
def lonely(postgres_dsn: str) -> Place:
    """A database of its own: whose tables may go."""
    return Place.make(postgres_dsn, {"tenant": MIGRATIONS})


async def test_a_tenants_tables_go_and_come_again(lonely: Place) -> None:
    tenant = await lonely.new_tenant()
    assert await tenant_tables_that_return(lonely, tenant, "tenant", MIGRATIONS) == TENANT


async def test_the_shared_tables_go_and_come_again(lonely: Place) -> None:
    assert await shared_tables_that_return(lonely, "tenant", MIGRATIONS) == SHARED


def test_every_shared_table_has_row_security_that_binds_its_owner_too(place: Place) -> None:
    found = place.rows(
        "select relname from pg_class where relnamespace = 'shared'::regnamespace"
        " and relkind = 'r' and relrowsecurity and relforcerowsecurity"
    )
    assert {row[0] for row in found} >= SHARED


@pytest.mark.parametrize("who", ["app", "owner"])
async def test_a_transaction_of_a_tenant_sees_and_changes_its_own_rows_only(
    place: Place, who: str
) -> None:
    """Whatever a statement says: it has no condition on the tenant at all."""
    mine, theirs = await place.new_tenant(), await place.new_tenant()
    for tenant in (mine, theirs):
        place.rows(
            "insert into shared.organizations (id, name, subdomain, plan, status)"
            f" values ('{tenant}', 'x', 's-{tenant[:8]}', 'free', 'active')"
        )
        place.rows(
            f"insert into shared.subdomains (name, tenant) values ('s-{tenant[:8]}', '{tenant}')"
        )
        place.rows(
            "insert into shared.invitations (id, tenant, email, role, digest, user_id, invited_by,"
            f" expires_at) values (gen_random_uuid(), '{tenant}', 'a@example.com', 'owner',"
            f" '{tenant}', gen_random_uuid(), 'u', now())"
        )
        place.rows(
            "insert into shared.registrations (id, tenant, subdomain, name, owner_id, owner_email,"
            f" owner_name, lease_until) values (gen_random_uuid(), '{tenant}', 's', 'n',"
            " gen_random_uuid(), 'e', 'n', now() + interval '1 day')"
        )
    url = Secret(place.owner if who == "owner" else place.app)
    async with Database(DatabaseConfig(url=url, max_retries=0, max_open_conns=2)) as database:
        handle: Verbs = database if who == "owner" else database.tenant(mine)  # or of no tenant
        seen = await handle.fetch_all("select tenant from shared.invitations")
        assert seen == ([] if who == "owner" else [(mine,)])
        assert await handle.fetch_all("select tenant from shared.registrations") == []
        assert await handle.fetch_all("select tenant from shared.subdomains") == []
        changed = await handle.execute("update shared.organizations set name = 'mine'")
        assert changed.rows_affected == (0 if who == "owner" else 1)
        assert (await handle.execute("delete from shared.subdomains")).rows_affected == 0
        with pytest.raises(PermissionDenied):
            await handle.execute(
                "insert into shared.invitations (id, tenant, email, role, digest, user_id,"
                " invited_by, expires_at) values (gen_random_uuid(), %s, 'b@example.com', 'owner',"
                " 'd', gen_random_uuid(), 'u', now())",
                [theirs],
            )
    place.rows(f"delete from shared.registrations where tenant in ('{mine}', '{theirs}')")
