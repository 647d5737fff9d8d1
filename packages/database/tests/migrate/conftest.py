"""A database of its own for each test, two ordinary roles, and small histories."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import tuple_row

from mtenant_database.migrate import History, MigrateSettings, Migration

_NUMBERS = itertools.count()


@dataclass(frozen=True)
class Database:
    """A database whose owner is no superuser, and an application that may do no DDL."""

    admin: str  # the superuser, for looking and for breaking things
    owner: str
    app: str
    deploy: str  # a role that may take the owner's
    settings: MigrateSettings
    name: str

    def rows(self, query: str, *args: object) -> list[tuple[object, ...]]:
        """What the superuser sees."""
        with psycopg.connect(self.admin, autocommit=True, row_factory=tuple_row) as conn:
            cursor = conn.execute(query, args or None)  # type: ignore[arg-type]  # a test's own text
            return cursor.fetchall() if cursor.description else []

    def value(self, query: str, *args: object) -> object:
        """The first value that the superuser sees."""
        return self.rows(query, *args)[0][0]

    def tables(self, schema: str) -> set[object]:
        """The tables of a schema, but for the ledger."""
        found = self.rows("select tablename from pg_tables where schemaname = %s", schema)
        return {name for (name,) in found} - {"mtenant_ledger"}


@pytest.fixture
def database(postgres_dsn: str) -> Iterator[Database]:
    """A new database."""
    tag = f"migrate_{os.getpid()}_{next(_NUMBERS)}"
    owner, app, deploy = f"{tag}_owner", f"{tag}_app", f"{tag}_deploy"
    with psycopg.connect(postgres_dsn, autocommit=True) as conn:
        for role in (owner, app, deploy):
            conn.execute(sql.SQL("create role {} login noinherit").format(sql.Identifier(role)))
        conn.execute(
            sql.SQL("grant {} to {}").format(sql.Identifier(owner), sql.Identifier(deploy))
        )
        conn.execute(
            sql.SQL("create database {} owner {}").format(
                sql.Identifier(tag), sql.Identifier(owner)
            )
        )
    yield Database(
        make_conninfo(postgres_dsn, dbname=tag),
        make_conninfo(postgres_dsn, dbname=tag, user=owner),
        make_conninfo(postgres_dsn, dbname=tag, user=app),
        make_conninfo(postgres_dsn, dbname=tag, user=deploy),
        MigrateSettings(owner=owner, app=app),
        tag,
    )
    with psycopg.connect(postgres_dsn, autocommit=True) as conn:
        conn.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(tag)))
        for role in (deploy, app, owner):
            conn.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))


@pytest.fixture
def contact() -> History:
    """Two migrations of the component contact."""
    return History(
        [
            Migration.of(
                "contact",
                1,
                "people",
                "create table people (id int primary key, name text not null);\n"
                "create index people_name_idx on people (name);",
                "drop table people;",
            ),
            Migration.of(
                "contact",
                2,
                "email",
                "alter table people add email text;",
                "alter table people drop email;",
            ),
        ]
    )


Grow = Callable[[History, int], History]


@pytest.fixture
def grow() -> Grow:
    """Add migrations to a history of contact, each of which adds a column."""

    def more(history: History, count: int) -> History:
        start = history[-1].version + 1
        return History(
            [
                *history,
                *(
                    Migration.of(
                        "contact",
                        version,
                        f"column_{version}",
                        f"alter table people add column_{version} text",
                        f"alter table people drop column_{version}",
                    )
                    for version in range(start, start + count)
                ),
            ]
        )

    return more
