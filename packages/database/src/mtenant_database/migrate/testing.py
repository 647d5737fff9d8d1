"""A pytest plugin for tests of migrations: a database of its own for each test.

`pytest_plugins = ["mtenant_database.migrate.testing"]` in a test module gives the fixture
`scratch_database`. It needs a fixture `postgres_dsn`, the URL of a superuser on a test server, as
mtenant-devstack has one.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from mtenant_database.migrate.ledger import LEDGER
from mtenant_database.migrate.settings import MigrateSettings

_numbers: Final = itertools.count()


@dataclass(frozen=True)
class ScratchDatabase:
    """A database with roles as a production has them: none of them is a superuser.

    Attributes:
        admin: A connection string of the superuser, for looking and for breaking things.
        owner: Of the role that owns database and schemas.
        app: Of the application, which may do no DDL.
        deploy: Of a role that may take the owner's, and nothing by itself.
        settings: With the names of owner and application.
    """

    admin: str
    owner: str
    app: str
    deploy: str
    settings: MigrateSettings

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Run a statement as the superuser, and return its rows."""
        with psycopg.connect(self.admin, autocommit=True) as conn:
            cursor = conn.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def value(self, query: str) -> object:
        """Run a query as the superuser, and return its first value."""
        return self.rows(query)[0][0]

    def tables(self, schema: str) -> set[object]:
        """Return the tables of a schema, but for the ledger."""
        found = self.rows(f"select tablename from pg_tables where schemaname = '{schema}'")  # noqa: S608 -- a test's own name
        return {name for (name,) in found} - {LEDGER}


@pytest.fixture
def scratch_database(postgres_dsn: str) -> Iterator[ScratchDatabase]:
    """A new, empty database; it is dropped after the test."""
    name = f"scratch_{os.getpid()}_{next(_numbers)}"
    owner, app, deploy = (f"{name}_{what}" for what in ("owner", "app", "deploy"))
    with psycopg.connect(postgres_dsn, autocommit=True) as conn:
        for role in (owner, app, deploy):
            conn.execute(sql.SQL("create role {} login noinherit").format(sql.Identifier(role)))
        conn.execute(
            sql.SQL("grant {} to {}").format(sql.Identifier(owner), sql.Identifier(deploy))
        )
        conn.execute(
            sql.SQL("create database {} owner {}").format(
                sql.Identifier(name), sql.Identifier(owner)
            )
        )
        conn.execute(
            sql.SQL("revoke temporary on database {} from public").format(sql.Identifier(name))
        )
    yield ScratchDatabase(
        make_conninfo(postgres_dsn, dbname=name),
        make_conninfo(postgres_dsn, dbname=name, user=owner),
        make_conninfo(postgres_dsn, dbname=name, user=app),
        make_conninfo(postgres_dsn, dbname=name, user=deploy),
        MigrateSettings(owner=owner, app=app),
    )
    with psycopg.connect(postgres_dsn, autocommit=True) as conn:
        conn.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
        for role in (deploy, app, owner):
            conn.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))
