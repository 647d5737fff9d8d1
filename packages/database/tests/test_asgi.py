from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mtenant_database.asgi import TenantMiddleware, current_tenant
from mtenant_database.database import Database
from mtenant_database.errors import TenantRequired
from mtenant_database.tenant_id import InvalidTenantId
from mtenant_database.testing import RecordingDatabase, RecordingTenant
from mtenant_errors import Unauthorized

pytestmark = pytest.mark.anyio


def _resolve(scope: Any) -> str | None:
    host = dict(scope["headers"]).get(b"host", b"").decode()
    return host.partition(".")[0] or None


async def _nobody(*_: Any) -> Any:
    raise AssertionError


def _scope(host: str = "", kind: str = "http", **more: Any) -> dict[str, Any]:
    return {"type": kind, "headers": [(b"host", host.encode())], **more}


class App:
    """Keeps what it saw."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)
        try:
            handle: Any = current_tenant()
        except TenantRequired:
            handle = None
        self.seen.append(handle and handle.id)
        assert scope.get("state", {}).get("tenant") is handle


async def test_a_request_gets_the_handle_of_its_tenant(db: Database, place: Any) -> None:
    tenant = place.fresh()
    answers = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        answers.append(await scope["state"]["tenant"].fetch_value("select name from contacts"))
        answers.append(await current_tenant().fetch_value("select name from contacts"))

    middleware = TenantMiddleware(app, database=db, resolve=_resolve)
    await middleware(_scope(f"{tenant}.example.com"), _nobody, _nobody)

    assert answers == [tenant, tenant]
    with pytest.raises(TenantRequired):
        current_tenant()


async def test_requests_at_once_do_not_see_each_others_tenant() -> None:
    app = App()
    middleware = TenantMiddleware(app, database=RecordingDatabase(), resolve=_resolve)
    hosts = [f"t{number}.example.com" for number in range(50)]

    await asyncio.gather(*(middleware(_scope(host), _nobody, _nobody) for host in hosts))

    assert sorted(app.seen) == sorted(f"t{number}" for number in range(50))


async def test_a_request_that_names_none_passes_without_one() -> None:
    app = App()
    middleware = TenantMiddleware(app, database=RecordingDatabase(), resolve=_resolve)

    await middleware(_scope(), _nobody, _nobody)
    await middleware(_scope("acme.example.com", "websocket"), _nobody, _nobody)
    await middleware(_scope("acme.example.com", "lifespan"), _nobody, _nobody)

    assert app.seen == [None, "acme", None]


async def test_a_request_inside_of_another_does_not_inherit_its_tenant() -> None:
    inner = App()
    seen: list[str] = []
    database = RecordingDatabase()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await TenantMiddleware(inner, database=database, resolve=_resolve)(_scope(), receive, send)
        seen.append(current_tenant().id)

    await TenantMiddleware(app, database=database, resolve=_resolve)(
        _scope("acme.example.com"), _nobody, _nobody
    )

    assert inner.seen == [None]
    assert seen == ["acme"]


async def test_a_resolver_may_be_async_and_may_refuse() -> None:
    app = App()

    async def of_token(scope: Any) -> str | None:
        await asyncio.sleep(0)
        if scope.get("token") is None:
            raise Unauthorized
        return str(scope["token"])

    middleware = TenantMiddleware(app, database=RecordingDatabase(), resolve=of_token)
    await middleware(_scope(token="acme"), _nobody, _nobody)
    with pytest.raises(Unauthorized):
        await middleware(_scope(), _nobody, _nobody)
    with pytest.raises(InvalidTenantId):
        await middleware(_scope(token="ACME!"), _nobody, _nobody)

    assert app.seen == ["acme"]


async def test_an_exception_of_the_app_leaves_no_tenant_behind() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert isinstance(current_tenant(), RecordingTenant)
        raise KeyError

    middleware = TenantMiddleware(app, database=RecordingDatabase(), resolve=_resolve)
    with pytest.raises(KeyError):
        await middleware(_scope("acme.example.com"), _nobody, _nobody)
    with pytest.raises(TenantRequired):
        current_tenant()
