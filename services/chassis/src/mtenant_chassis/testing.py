"""For tests of services: a place with real tables, tokens of any kind, a client, a served app.

```python
place = Place.make(postgres_dsn, {"contact": MIGRATIONS})      # once a session
acme = place.tenant()
issuer = Issuer()
app = create_app(place.settings("contact-service"), routers=[...], keys=issuer.keys)
async with running(app) as client:
    answer = await client.get("/api/contacts", headers=issuer.bearer(acme, "member"))
```
"""

from __future__ import annotations

import asyncio
import socket
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2 as httpx
import psycopg
from fastapi import FastAPI
from joserfc.jwk import OKPKey
from psycopg import sql

from mtenant_chassis.auth.keys import KeySet, StaticKeys, generate_key
from mtenant_chassis.auth.token import AccessToken, write_token
from mtenant_chassis.migrate import COMPONENTS
from mtenant_chassis.serve import Server
from mtenant_chassis.settings import AuthSettings, Settings
from mtenant_config import Secret
from mtenant_database import DatabaseConfig
from mtenant_database.migrate import MigrateSettings, provision, read_migrations
from mtenant_database.migrate.deployment import deploy

_DEADLINE: Final = 30.0


class Issuer:
    """Issues tokens as auth-service does.

    Attributes:
        key: The signing key.
        kid: Its id.
        keys: What an app is given: `create_app(..., keys=issuer.keys)`.
        settings: The issuer and audience that the tokens have.
    """

    def __init__(self, settings: AuthSettings | None = None) -> None:
        self.key: OKPKey = generate_key()
        self.kid = uuid.uuid4().hex[:8]
        self.keys = StaticKeys(KeySet({self.kid: self.key}))
        self.settings = settings or AuthSettings()

    def token(self, tenant: str | None, *roles: str, user: str = "u1", **claims: Any) -> str:
        """Return a token of a person.

        Args:
            tenant: Of which tenant.
            *roles: With which roles.
            user: The person's id.
            **claims: Other fields of `AccessToken`, such as `expires`.
        """
        said: dict[str, Any] = {
            "subject": user,
            "issuer": self.settings.issuer,
            "audience": self.settings.audience,
            "expires": time.time() + 600,
            "session": f"session-of-{user}",
        }
        token = AccessToken(**{**said, "tenant": tenant, "roles": roles, **claims})
        return write_token(token, self.key, self.kid)

    def service_token(
        self,
        service: str,
        *,
        audience: str,
        tenant: str | None = None,
        scopes: tuple[str, ...] = (),
    ) -> str:
        """Return a token of a service, for calls to another one."""
        return self.token(
            tenant, user=service, audience=audience, scopes=scopes, kind="service", session=None
        )

    def bearer(self, tenant: str | None, *roles: str, **claims: Any) -> dict[str, str]:
        """Return the Authorization field with a person's token."""
        return {"authorization": f"Bearer {self.token(tenant, *roles, **claims)}"}


class RecordingOutbox:
    """Keeps the events that were added, of transactions that may yet roll back.

    Attributes:
        added: The tenant of the transaction, and the event, in their order.
    """

    def __init__(self) -> None:
        self.added: list[tuple[str | None, Any]] = []

    async def add(self, tx: Any, event: Any, *, key: Any = None, ordered: bool = False) -> Any:
        """Keep an event."""
        self.added.append((tx.tenant, event))
        return event

    async def add_many(
        self, tx: Any, events: Iterable[Any], *, key: Any = None, ordered: bool = False
    ) -> list[Any]:
        """Keep events."""
        return [await self.add(tx, event, key=key, ordered=ordered) for event in events]


@dataclass
class RecordingEvents:
    """Stands in for what carries events: `create_app(..., events=RecordingEvents().open)`.

    Attributes:
        outbox: Keeps what is added.
        forgotten: The tenants whose events were to be deleted.
    """

    outbox: RecordingOutbox = field(default_factory=RecordingOutbox)
    forgotten: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def open(self, chassis: object) -> AsyncIterator[RecordingEvents]:
        """Be there."""
        yield self

    async def consume(self) -> None:
        """Do nothing: nothing arrives."""

    async def stop_consuming(self) -> None:
        """Do nothing."""

    async def healthy(self) -> bool:
        """Return True."""
        return True

    async def numbers(self) -> dict[str, int | float]:
        """Return none: nothing waits."""
        return {}

    async def forget(self, tenant: str) -> None:
        """Note whose."""
        self.forgotten.append(tenant)


@dataclass(frozen=True)
class Place:
    """A database with the tables of components, an owner for DDL, and a role for the services.

    Attributes:
        admin: The URL of a superuser, for looking.
        owner: Of the role that owns the schemas.
        app: Of the services' role.
        migrate: With the names of both.
    """

    admin: str
    owner: str
    app: str
    migrate: MigrateSettings

    @classmethod
    def make(cls, superuser: str, components: Mapping[str, Path] | None = None) -> Place:
        """Make a database, and register the components of the chassis and others.

        Args:
            superuser: The URL of a test server's superuser.
            components: Folders of migrations, by the component's name.
        """
        name = f"chassis_{uuid.uuid4().hex[:12]}"
        owner, app = f"{name}_owner", f"{name}_app"
        with psycopg.connect(superuser, autocommit=True) as conn:
            for role in (owner, app):
                conn.execute(sql.SQL("create role {} login").format(sql.Identifier(role)))
            conn.execute(
                sql.SQL("create database {} owner {}").format(
                    sql.Identifier(name), sql.Identifier(owner)
                )
            )
            conn.execute(
                sql.SQL("revoke temporary on database {} from public").format(sql.Identifier(name))
            )
        parts = urlsplit(superuser)
        at = f"{parts.hostname}:{parts.port}/{name}"
        place = cls(
            admin=parts._replace(path=f"/{name}").geturl(),
            owner=f"postgresql://{owner}@{at}",
            app=f"postgresql://{app}@{at}",
            migrate=MigrateSettings(owner=owner, app=app),
        )
        asyncio.run(place._deploy({**COMPONENTS, **(components or {})}))
        return place

    async def _deploy(self, components: Mapping[str, Path]) -> None:
        for name, folder in components.items():
            await deploy(self.owner, read_migrations(folder, name), settings=self.migrate)

    def tenant(self) -> str:
        """Make a tenant with the tables of all components; return its id."""
        return asyncio.run(self.new_tenant())

    async def new_tenant(self) -> str:
        """Make a tenant; the same inside of a loop."""
        tenant = f"t{uuid.uuid4().hex[:12]}"
        await provision(self.owner, tenant, settings=self.migrate)
        return tenant

    def settings(self, service: str, **changes: Any) -> Settings:
        """Return the settings of a service that works here.

        Args:
            service: Its name.
            **changes: Other fields of `Settings`, such as `redis_url`.
        """
        database = DatabaseConfig(
            url=Secret(self.app), max_idle_conns=1, max_open_conns=10, max_retries=0
        )
        return Settings(service=service, **{"database": database, "environment": "dev", **changes})

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Run a statement as the superuser, and return its rows."""
        with psycopg.connect(self.admin, autocommit=True) as conn:
            cursor = conn.execute(query.encode())
            return cursor.fetchall() if cursor.description else []


class Network(httpx.AsyncBaseTransport):
    """Leads calls to apps of this process: `create_app(..., transport=Network({"auth": auth_app}))`.

    Args:
        apps: By the host of their URLs: `AUTH_SERVICE_URL` is `http://auth` here. Who is not among them
            cannot be reached.

    Attributes:
        requests: What was sent, in its order.
    """

    def __init__(self, apps: Mapping[str, FastAPI]) -> None:
        self._apps = {
            name: httpx.ASGITransport(app=app, raise_app_exceptions=False)
            for name, app in apps.items()
        }
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Hand a request over."""
        self.requests.append(request)
        app = self._apps.get(request.url.host)
        if app is None:
            raise httpx.ConnectError(f"there is no app at {request.url.host}")
        return await app.handle_async_request(request)


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Run an app's lifespan, and yield a client that calls it without a network.

    A fault of the app that would be a 500 is one here, too, and not an exception of the test.
    """
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            yield client


@asynccontextmanager
async def serving(
    app: FastAPI, settings: Settings, *, port: int = 0
) -> AsyncIterator[tuple[str, Server]]:
    """Serve an app on a port of this machine, a free one by default; yield its URL and the server."""
    # By its protocol asyncio knows a TCP socket, and sends each answer at once (TCP_NODELAY).
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", port))
        free.listen(128)
        server = Server(app, settings)
        task = asyncio.create_task(server._serve([free]))
        try:
            async with asyncio.timeout(_DEADLINE):
                while not server.started:
                    if task.done():
                        await task
                    await asyncio.sleep(0.005)
            host, port = free.getsockname()
            yield f"http://{host}:{port}", server
        finally:
            server.should_exit = True
            await task
