"""What a repository costs beside the query it sends, written by hand.

    python tests/benchmarks/bench_database_records.py

PostgreSQL is started for it, or $DATABASE_URL names a superuser's database.
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from urllib.parse import urlsplit

import psycopg
from harness import Bound, Case, Comparison, report

from mtenant_config import Secret
from mtenant_database import Database, DatabaseConfig, Tenant
from mtenant_database.records import Auditable, Entity, Repository, Versioned, ddl
from mtenant_devstack import Stack

REPOSITORY, HAND = "Contacts(acme).get(id)", "the same query by hand"


@dataclass(kw_only=True)
class Contact(Versioned, Auditable, Entity):
    """A contact, as a service has it."""

    __tablename__ = "contacts"
    name: str
    email: str | None = None


class Contacts(Repository[Contact], entity=Contact):
    """The contacts of a tenant."""


QUERY = (
    "select id, name, email, version, created_by, updated_by, deleted_by, deleted_at, created_at,"
    " updated_at from contacts where deleted_at is null and id = %s"
)


def prepare(superuser: str) -> str:
    """Make a database with a tenant, and return its URL for a role that is no superuser."""
    name = f"bench_records_{os.getpid()}"
    with psycopg.connect(superuser, autocommit=True) as conn:
        conn.execute(f"create role {name} login".encode())
        conn.execute(f"create database {name} owner {name}".encode())
    parts = urlsplit(superuser)
    place = parts._replace(netloc=f"{name}@{parts.hostname}:{parts.port}", path=f"/{name}").geturl()
    with psycopg.connect(place) as conn:
        conn.execute("create schema tenant_acme; set search_path to tenant_acme")
        conn.execute(ddl(Contact).encode())
    return place


def main() -> int:
    """Compare, and tell by the exit status whether the promise was kept."""
    given = os.environ.get("DATABASE_URL")
    with Stack(() if given else ("postgres",)) as stack, asyncio.Runner() as runner:
        url = prepare(given or stack.postgres.url)
        db = Database(DatabaseConfig(url=Secret(url), max_open_conns=2, max_idle_conns=2))
        runner.run(db.connect())
        acme = db.tenant("acme")
        ada = runner.run(Contacts(acme).create(Contact(name="Ada", email="ada@example.com")))

        async def by_repository(tenant: Tenant, n: int) -> None:
            for _ in range(n):
                await Contacts(tenant).get(ada.id)

        async def by_hand(tenant: Tenant, n: int) -> None:
            for _ in range(n):
                await tenant.fetch_one(QUERY, [ada.id], row=Contact)

        comparison = Comparison(
            "database: one row by its id, in a tenant's scope",
            [
                Case(REPOSITORY, lambda n: runner.run(by_repository(acme, n))),
                Case(HAND, lambda n: runner.run(by_hand(acme, n))),
            ],
            [Bound(REPOSITORY, HAND, 1.15)],
        )
        try:
            return report("database_records", [comparison])
        finally:
            runner.run(db.close())


if __name__ == "__main__":
    sys.exit(main())
