"""The scope in other hands: SQLAlchemy's sessions on asyncpg and psycopg, and asyncpg by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from sqlalchemy import Integer, String, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from mtenant_database import InvalidTenantId, scope
from mtenant_database.errors import TenantNotFound, TenantSuspended
from mtenant_database.sqlalchemy import tenant_session
from mtenant_database.testing import TenantLeak, tenant_leak_fuzz

pytestmark = pytest.mark.anyio


class Base(DeclarativeBase):
    pass


class Contact(Base):
    __tablename__ = "contacts"
    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(String)


@pytest.fixture(params=["asyncpg", "psycopg"])
async def engine(place: Any, request: Any) -> AsyncIterator[AsyncEngine]:
    url = urlsplit(place.app)._replace(scheme=f"postgresql+{request.param}").geturl()
    made = create_async_engine(url, pool_size=2, max_overflow=0)
    yield made
    await made.dispose()


async def test_a_session_sees_its_tenant_in_every_transaction(
    engine: AsyncEngine, place: Any
) -> None:
    one, other = place.fresh(), place.fresh()
    for tenant in (one, other, one):
        async with tenant_session(engine, tenant) as session:
            assert (await session.scalars(select(Contact.name))).all() == [tenant]
            session.add(Contact(id=2 if tenant == other else 3, name="new"))
            await session.commit()
            # A second transaction of the same session, with a scope of its own.
            assert (await session.scalars(select(Contact.name).where(Contact.id == 1))).all() == [
                tenant
            ]
            await session.rollback()
            assert (
                await session.scalar(text("select current_setting('mtenant.tenant_id')")) == tenant
            )
            await session.execute(text("delete from contacts where id > 1"))
            await session.commit()


async def test_a_savepoint_that_is_rolled_back_keeps_the_scope(
    engine: AsyncEngine, place: Any
) -> None:
    tenant = place.fresh()
    async with tenant_session(engine, tenant) as session, session.begin():
        try:
            async with session.begin_nested():
                await session.execute(text("select 1/0"))
        except DBAPIError:
            pass
        assert (await session.scalars(select(Contact.name))).all() == [tenant]


async def test_nothing_of_a_scope_is_left_on_a_connection(engine: AsyncEngine, place: Any) -> None:
    tenant = place.fresh()
    async with tenant_session(engine, tenant, timeout=7) as session:
        assert await session.scalar(text("show statement_timeout")) == "7s"
    async with engine.connect() as conn:
        path = await conn.scalar(text("show search_path"))
        assert tenant not in str(path)
        assert not await conn.scalar(text("select current_setting('mtenant.tenant_id', true)"))


async def test_a_tenant_that_is_not_there_or_closed_is_an_error(
    engine: AsyncEngine, place: Any
) -> None:
    closed = place.fresh()
    place.run(f"revoke usage on schema tenant_{closed} from {place.role}")
    for tenant, error in (("nobody", TenantNotFound), (closed, TenantSuspended)):
        async with tenant_session(engine, tenant) as session:
            with pytest.raises(error):
                await session.scalar(text("select 1"))
    with pytest.raises(InvalidTenantId):
        async with tenant_session(engine, "A-B"):
            pass


async def test_autocommit_is_refused(engine: AsyncEngine, place: Any) -> None:
    loose = engine.execution_options(isolation_level="AUTOCOMMIT")
    async with tenant_session(loose, place.fresh()) as session:
        with pytest.raises(ValueError, match="AUTOCOMMIT"):
            await session.scalar(text("select 1"))


class Sessions:
    """What the search for leaks takes: sessions by tenant."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    def tenant(self, tenant: str, /) -> Any:
        return partial(tenant_session, self.engine, tenant)


class Connections:
    """The same with asyncpg alone, as the example does it."""

    def __init__(self, pool: Any, *, local: str = "true") -> None:
        self.pool, self.local = pool, local

    def tenant(self, tenant: str, /) -> Any:
        @asynccontextmanager
        async def connection() -> AsyncIterator[Any]:
            sql, params = scope(tenant)
            async with self.pool.acquire() as conn, conn.transaction():
                await conn.execute(sql.replace("true", self.local), *params)
                yield conn

        return connection


async def _read_session(session: Any) -> Any:
    async with session() as opened:
        return (await opened.scalars(select(Contact.name))).all()


async def _change_session(session: Any) -> Any:
    async with session() as opened, opened.begin():
        await opened.execute(text("update contacts set name = name"))
        return (await opened.scalars(select(Contact.name))).all()


async def _read_connection(connection: Any) -> Any:
    async with connection() as conn:
        return await conn.fetch("select name from contacts")


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What asyncpg tells the loop when it is cancelled while it connects; no fault of anybody here."""
    told: list[Any] = []
    monkeypatch.setattr(
        asyncio.BaseEventLoop, "call_exception_handler", lambda _, context: told.append(context)
    )
    return told


@pytest.mark.usefixtures("heard")
async def test_the_search_for_leaks_finds_none_in_sessions(engine: AsyncEngine, place: Any) -> None:
    marks = {tenant: tenant for tenant in (place.fresh(), place.fresh())}
    await tenant_leak_fuzz(Sessions(engine), marks, [_read_session, _change_session], rounds=60)


@pytest.mark.usefixtures("heard")
async def test_the_search_for_leaks_finds_none_in_connections(place: Any) -> None:
    marks = {tenant: tenant for tenant in (place.fresh(), place.fresh())}
    async with asyncpg.create_pool(place.app, min_size=1, max_size=2) as pool:
        await tenant_leak_fuzz(Connections(pool), marks, [_read_connection], rounds=60)


@pytest.mark.usefixtures("heard")
async def test_the_search_for_leaks_finds_a_scope_that_outlives_its_transaction(
    engine: AsyncEngine, place: Any
) -> None:
    marks = {tenant: tenant for tenant in (place.fresh(), place.fresh())}

    async def careless(session: Any) -> Any:
        async with AsyncSession(engine) as opened:  # whatever path the connection has
            return (await opened.scalars(select(Contact.name))).all()

    async def sets_the_session(session: Any) -> Any:
        async with session() as opened:
            await opened.execute(text("set search_path to " + "tenant_" + next(iter(marks))))
            await opened.commit()

    with pytest.raises(TenantLeak):
        await tenant_leak_fuzz(
            Sessions(engine), marks, [careless, sets_the_session], rounds=60, at_once=2
        )

    async def reads_before_the_scope(connection: Any) -> Any:
        async with pool.acquire() as conn:
            return await conn.fetch("select name from contacts")

    async with asyncpg.create_pool(place.app, min_size=1, max_size=1, reset=_nothing) as pool:
        leaky = Connections(pool, local="false")
        with pytest.raises(TenantLeak):
            await tenant_leak_fuzz(
                leaky, marks, [_read_connection, reads_before_the_scope], rounds=60, at_once=2
            )


async def _nothing(conn: Any) -> None:
    """Instead of asyncpg's RESET ALL."""
