"""A database with real tables and tenants."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from mtenant_chassis.migrate import COMPONENTS
from mtenant_chassis.settings import Settings
from mtenant_config import Secret
from mtenant_database import DatabaseConfig
from mtenant_database.migrate import MigrateSettings, provision, read_migrations
from mtenant_database.migrate.deployment import deploy


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
        """Run a statement as the superuser, and return its rows.

        It blocks the event loop: a lock that an app of this process holds is not given up meanwhile. What
        waits for one for ten seconds fails, and wants `asyncio.to_thread` or `for update skip locked`.
        """
        with psycopg.connect(self.admin, autocommit=True, options="-c lock_timeout=10s") as conn:
            cursor = conn.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def tables(self, schema: str) -> set[str]:
        """Return the names of a schema's tables."""
        with psycopg.connect(self.admin, autocommit=True) as conn:
            found = conn.execute("select tablename from pg_tables where schemaname = %s", [schema])
            return {row[0] for row in found}
