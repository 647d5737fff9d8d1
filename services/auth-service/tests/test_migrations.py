from __future__ import annotations

import pytest

from auth_service.app import MIGRATIONS
from mtenant_chassis.testing import Place, shared_tables_that_return, tenant_tables_that_return
from mtenant_database.migrate import read_migrations

pytestmark = pytest.mark.anyio

FILES = read_migrations(MIGRATIONS, "auth")
TENANT = {
    "api_keys",
    "email_verification_tokens",
    "password_reset_tokens",
    "refresh_tokens",
    "sessions",
    "users",
}


@pytest.fixture
def lonely(postgres_dsn: str) -> Place:
    """A database of its own: whose tables may go."""
    return Place.make(postgres_dsn, {"auth": MIGRATIONS})


def test_every_migration_has_a_way_back() -> None:
    for migration in (*FILES.shared, *FILES.tenant):
        assert migration.down is not None


async def test_a_tenants_tables_go_and_come_again(lonely: Place) -> None:
    tenant = await lonely.new_tenant()
    assert await tenant_tables_that_return(lonely, tenant, "auth", MIGRATIONS) == TENANT


async def test_the_shared_table_goes_and_comes_again(lonely: Place) -> None:
    assert await shared_tables_that_return(lonely, "auth", MIGRATIONS) == {"signing_keys"}
