"""Databases for the doctor: one that our own tools made, on both ends of the supported servers."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from mtenant_database.doctor import Report, examine
from mtenant_database.migrate import Fleet, History, MigrateSettings, Migration, provision

_numbers = itertools.count()

FILES = History(
    [
        Migration.of("auth", 1, "users", "create table users (id int primary key)"),
        Migration.of(
            "contact",
            1,
            "people",
            "create table people (id serial primary key, email text, boss int references people);"
            "create view bosses as select boss from people;"
            "create function greet() returns text language sql security definer"
            " set search_path = pg_catalog, pg_temp as $$ select 'hello' $$",
        ),
    ]
)


@dataclass
class Patient:
    """A database of its own, with an owner, a role for the program, and one that migrates."""

    server: str
    name: str
    sessions: ExitStack = field(default_factory=ExitStack)

    @property
    def admin(self) -> str:
        return make_conninfo(self.server, dbname=self.name)

    def url(self, role: str) -> str:
        return make_conninfo(self.server, dbname=self.name, user=f"{self.name}_{role}")

    def run(self, text: str) -> list[Any]:
        """Run statements as the superuser, with `%` for the roles' common prefix; return rows."""
        with psycopg.connect(self.admin, autocommit=True) as conn:
            cursor = conn.execute(text.replace("%", self.name).encode())
            return cursor.fetchall() if cursor.description else []

    def session(self, role: str) -> None:
        """Keep a connection of a role open until the test ends."""
        self.sessions.enter_context(psycopg.connect(self.url(role)))

    def examine(self, role: str = "app") -> Report:
        return asyncio.run(examine(self.url(role)))

    def install(self, *tenants: str, files: History = FILES) -> None:
        """Set up the registry and tenants with the tools of this library."""
        settings = MigrateSettings(owner=f"{self.name}_owner", app=f"{self.name}_app")

        async def main() -> None:
            async with Fleet(self.url("deploy"), settings=settings) as fleet:
                await fleet.install()
                await fleet.register(files)
            for tenant in tenants:
                await provision(self.url("deploy"), tenant, settings=settings)

        asyncio.run(main())


@contextmanager
def admitted(server: str) -> Iterator[Patient]:
    patient = Patient(server, f"doc{os.getpid()}_{next(_numbers)}")
    name = patient.name
    with psycopg.connect(server, autocommit=True) as conn:
        for text in (
            f"create role {name}_owner",
            f"create role {name}_app login",
            f"create role {name}_deploy login noinherit",
            f"grant {name}_owner to {name}_deploy",
            f"create database {name} owner {name}_owner",
            f"revoke temporary on database {name} from public",
        ):
            conn.execute(text.encode())
    with patient.sessions:
        yield patient


@pytest.fixture(params=["newest", "oldest"])
def server(request: pytest.FixtureRequest) -> str:
    """The superuser's URL of the newest server and of an older one."""
    fixture = "postgres_dsn" if request.param == "newest" else "older_postgres_dsn"
    return str(request.getfixturevalue(fixture))


@pytest.fixture
def patient(server: str) -> Iterator[Patient]:
    """A new, empty database."""
    with admitted(server) as it:
        yield it


@pytest.fixture
def new_patient(postgres_dsn: str) -> Iterator[Callable[[], Patient]]:
    """Make databases on the newest server only."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(admitted(postgres_dsn))
