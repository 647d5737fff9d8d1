from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from mtenant_config import ConfigError, Secret
from mtenant_database import (
    Database,
    DatabaseConfig,
    DatabaseUnavailable,
    InvalidTenantId,
    TenantNotFound,
)
from mtenant_database.asgi import TenantMiddleware, current_tenant
from mtenant_database.routing import Databases, ReadWriteRouter

if TYPE_CHECKING:
    from conftest import Place

pytestmark = pytest.mark.anyio


class Where:
    """A map that a test writes; it counts how often it is asked."""

    def __init__(self, **places: str) -> None:
        self.places = places
        self.asked: list[str] = []

    async def database_of(self, tenant: str, /) -> str:
        self.asked.append(tenant)
        try:
            return self.places[tenant]
        except KeyError:
            raise TenantNotFound from None


async def test_a_tenants_handle_is_of_the_database_that_it_lives_in(
    place: Place, new_place: Callable[[], Place]
) -> None:
    other = new_place()
    here = place.fresh()
    there = other.fresh()
    where = Where(**{here: "eu", there: "us", "lost": "asia"})
    eu, us = Database(place.config()), Database(other.config())
    members: dict[str, Database | ReadWriteRouter] = {"eu": eu, "us": ReadWriteRouter(us, [])}
    async with Databases(members, tenants=where) as databases:
        for tenant in (here, there):
            handle = await databases.tenant(tenant)
            assert await handle.fetch_value("select name from contacts") == tenant
        assert list(databases) == ["eu", "us"]
        assert databases["eu"] is members["eu"]
        assert all(status.healthy for status in (await databases.health_check()).values())

        with pytest.raises(TenantNotFound):
            await databases.tenant("nobody")
        with pytest.raises(LookupError, match="'asia', which is none of: eu, us"):
            await databases.tenant("lost")
        asked = len(where.asked)
        with pytest.raises(InvalidTenantId):
            await databases.tenant("tenant'; drop")
        assert len(where.asked) == asked
    assert eu.pool.closed
    assert us.pool.closed


async def test_if_one_cannot_be_opened_none_stays_open(place: Place) -> None:
    good = Database(place.config())
    bad = Database(place.config(url="postgresql://nobody@127.0.0.1:1/none"))
    databases = Databases({"good": good, "bad": bad}, tenants=Where())

    with pytest.raises(DatabaseUnavailable):
        await databases.connect()

    assert good.pool.closed


def test_no_database_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="name one"):
        Databases({}, tenants=Where())


async def test_the_middleware_waits_for_the_map(place: Place) -> None:
    tenant = place.fresh()
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(await current_tenant().fetch_value("select name from contacts"))

    async def nothing(*_: Any) -> Any: ...

    members = {"eu": Database(place.config())}
    async with Databases(members, tenants=Where(**{tenant: "eu"})) as databases:
        middleware = TenantMiddleware(app, database=databases, resolve=lambda _: tenant)
        await middleware({"type": "http"}, nothing, nothing)
    assert seen == [tenant]


def test_each_database_has_variables_of_its_own() -> None:
    environ = {
        "DATABASE_URL": "postgresql://main.example.com/crm",
        "REPORTS_DATABASE_URL": "postgresql://reports.example.com/crm",
        "REPORTS_DB_MAX_OPEN_CONNS": "3",
        "ENVIRONMENT": "development",
    }

    main = DatabaseConfig.from_env(environ)
    reports = DatabaseConfig.from_env(environ, prefix="REPORTS")

    assert main.parameters()["host"] == "main.example.com"
    assert main.max_open_conns == 20
    assert reports.parameters()["host"] == "reports.example.com"
    assert reports.max_open_conns == 3
    assert reports.is_development


def test_what_is_wrong_is_told_by_the_name_that_it_has() -> None:
    with pytest.raises(ConfigError) as caught:
        DatabaseConfig.from_env({"REPORTS_DB_PORT": "x", "DB_NAME": "crm"}, prefix="REPORTS")

    told = str(caught.value)
    assert "REPORTS_DB_PORT" in told
    assert "REPORTS_DATABASE_URL, or REPORTS_DB_NAME" in told
    with pytest.raises(ValueError, match="prefix"):
        DatabaseConfig.from_env({}, prefix="reports_")
    config = DatabaseConfig.from_env({"A_DATABASE_URL": "postgresql://h/x"}, prefix="A")
    assert config.url == Secret("postgresql://h/x")
