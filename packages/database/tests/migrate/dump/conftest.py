"""A database of tenants with every kind of object, and shared tables with rows of theirs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from mtenant_database.migrate import Fleet, History, MigrateSettings, Migration, dump, provision
from mtenant_devstack import binaries

# Before the import below, or pytest could not rewrite the plug-in any more.
pytest.register_assert_rewrite("mtenant_database.migrate.testing")
from mtenant_database.migrate.testing import ScratchDatabase  # noqa: E402

PG_DUMP = str(binaries.postgres().path.with_name("pg_dump"))
PEOPLE = Migration.of(
    "contact",
    1,
    "people",
    """
create table people (
    id bigint generated always as identity primary key,
    name text not null,
    nick text generated always as (lower(name)) stored,
    note bytea
);
create unique index one_name on people (name);
create table "odd ""name""
; COPY x FROM stdin;" (id serial primary key, person bigint references people, said text);
create function greet(who text) returns text language sql stable
begin atomic
    select 'hello; ' || who;
end;
create function noted() returns trigger language plpgsql as $body$
begin
    insert into people (name) values ('by the trigger; of ' || new.id);
    return new;
end $body$;
create trigger noted after insert on "odd ""name""
; COPY x FROM stdin;" for each row execute function noted();
create table visits (person bigint not null, at date not null) partition by range (at);
create table visits_2026 partition of visits for values from ('2026-01-01') to ('2027-01-01');
create materialized view counted as select count(*) from people;
create view loud as select upper(name) as name from people;
revoke delete on people from public;
""",
    "select 1",
)
EMAIL = Migration.of("contact", 2, "email", "alter table people add email text", "select 1")
SHARED = """
create table shared.organizations (id text primary key references shared.tenants on delete cascade,
    name text not null, subdomain text not null unique);
create table shared.invitations (id uuid primary key, tenant text not null references shared.tenants
    on delete cascade, organization text references shared.organizations);
create table shared.subdomains (name text primary key, tenant text not null);
create table shared.keys (kid text primary key);
create schema eventing;
create table eventing.outbox (id bigint generated always as identity, tenant text not null,
    body bytea not null, primary key (tenant, id));
"""
GUARDED = ("shared.organizations", "shared.invitations", "shared.subdomains", "eventing.outbox")


@dataclass(frozen=True)
class Crm(ScratchDatabase):
    """A database whose tenants can be dumped."""

    @property
    def operator(self) -> MigrateSettings:
        return replace(self.settings, pg_dump=PG_DUMP)

    def register(self, versions: int) -> None:
        """Register the migrations up to a version; there are two."""
        files = History([PEOPLE, EMAIL][:versions])

        async def run() -> None:
            async with Fleet(self.deploy, settings=self.settings) as fleet:
                await fleet.install()
                await fleet.register(files)

        asyncio.run(run())

    def populate(self, versions: int = 2) -> Crm:
        """Register migrations, and make shared tables that force row security."""
        self.register(versions)
        self.rows(f"set role {self.settings.owner}; {SHARED}")
        for table in GUARDED:
            self.rows(f"alter table {table} enable row level security, force row level security")
        return self

    def fill(self, tenant: str) -> None:
        schema = f"tenant_{tenant}"
        rows = ["Ada", "back\\slash", "tab\there", "line\nbreak", "\\.", "ä;'\"", ""]
        with psycopg.connect(self.admin, autocommit=True) as conn:
            conn.execute(f"set search_path to {schema}".encode())  # for the trigger
            for row in rows:
                conn.execute(
                    f"insert into {schema}.people (name, note) values (%s, %s)".encode(),
                    [row, b"\0\xff\\."],
                )
            odd = '"odd ""name""\n; COPY x FROM stdin;"'
            conn.execute(
                f"insert into {schema}.{odd} (person, said) values (1, %s)".encode(), ["\\."]
            )
            conn.execute(f"insert into {schema}.visits values (1, '2026-05-01')".encode())
            conn.execute(f"refresh materialized view {schema}.counted".encode())
            conn.execute(
                "insert into shared.organizations values (%s, %s, %s)", [tenant, tenant, tenant]
            )
            conn.execute(
                "insert into shared.invitations values (gen_random_uuid(), %s, %s)",
                [tenant, tenant],
            )
            conn.execute("insert into shared.subdomains values (%s, %s)", [tenant, tenant])
            for body in (b"first", b"\\.\n", b"third"):
                conn.execute(
                    "insert into eventing.outbox (tenant, body) values (%s, %s)", [tenant, body]
                )

    def dumped(self, folder: Path, tenant: str = "acme") -> Path:
        asyncio.run(dump(self.admin, tenant, folder, settings=self.operator))
        return folder

    def command(self, *words: str) -> list[str]:
        return ["tenants", *words, "--dsn", self.admin, "--owner", str(self.settings.owner)]

    def state(self, tenant: str) -> dict[str, Any]:
        """Everything of a tenant that anybody could look at."""
        schema = f"tenant_{tenant}"
        odd = '"odd ""name""\n; COPY x FROM stdin;"'
        return {
            "people": self.rows(f"select * from {schema}.people order by id"),
            "odd": self.rows(f"select * from {schema}.{odd}"),
            "visits": self.rows(f"select tableoid::regclass::text, * from {schema}.visits"),
            "counted": self.rows(f"select * from {schema}.counted"),
            "ledger": self.rows(
                f"select component, version, checksum from {schema}.mtenant_ledger"
            ),
            "versions": self.rows(
                f"select * from shared.tenant_versions where tenant = '{tenant}'"
            ),
            "registry": self.rows(
                f"select id, status, grantees, created_at from shared.tenants where id = '{tenant}'"
            ),
            "organizations": self.rows(f"select * from shared.organizations where id = '{tenant}'"),
            "invitations": self.rows(f"select * from shared.invitations where tenant = '{tenant}'"),
            "subdomains": self.rows(f"select * from shared.subdomains where tenant = '{tenant}'"),
            "outbox": self.rows(
                f"select body from eventing.outbox where tenant = '{tenant}' order by id"
            ),
            "objects": self.rows(
                "select c.relname, c.relkind, pg_get_userbyid(c.relowner), c.relacl::text,"
                " pg_get_indexdef(c.oid) is not null from pg_class c"
                f" where relnamespace = '{schema}'::regnamespace order by 1"
            ),
            "functions": self.rows(
                "select proname, prosrc, pg_get_functiondef(oid) from pg_proc"
                f" where pronamespace = '{schema}'::regnamespace order by 1"
            ),
            "grants": self.rows(
                "select n.nspacl::text, d.defaclacl::text from pg_namespace n"
                f" left join pg_default_acl d on d.defaclnamespace = n.oid where nspname = '{schema}'"
                " order by 2"
            ),
        }


@pytest.fixture
def empty(scratch_database: ScratchDatabase) -> Crm:
    return Crm(**vars(scratch_database))


@pytest.fixture
def db(empty: Crm) -> Crm:
    """A database with two tenants, and shared tables that force row security."""
    empty.populate()
    for tenant in ("acme", "globex"):
        asyncio.run(provision(empty.deploy, tenant, settings=empty.settings))
        empty.fill(tenant)
    return empty


@pytest.fixture
def other(db: Crm) -> Iterator[Crm]:
    """Another database of the same server, for the same roles."""
    name = f"{db.settings.owner}_else"
    with psycopg.connect(db.admin, autocommit=True) as conn:
        conn.execute(f"create database {name} owner {db.settings.owner}".encode())
    yield replace(
        db,
        admin=make_conninfo(db.admin, dbname=name),
        owner=make_conninfo(db.owner, dbname=name),
        app=make_conninfo(db.app, dbname=name),
        deploy=make_conninfo(db.deploy, dbname=name),
    )
    with psycopg.connect(db.admin, autocommit=True) as conn:
        conn.execute(f"drop database {name} with (force)".encode())


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """Wait until something holds, and fail if it does not in time."""

    def wait(holds: Callable[[], object]) -> None:
        deadline = time.monotonic() + 30
        while not holds():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.01)

    return wait
