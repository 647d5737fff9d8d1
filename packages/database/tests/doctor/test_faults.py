"""A database that has every fault: each is found, with a cure that takes it away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mtenant_database.doctor import Report
from mtenant_database.doctor.examination import CHECKS

if TYPE_CHECKING:
    from conftest import Patient

# What a superuser with a bad day did to a database that was well. `%` is the roles' common prefix.
FAULTS = """
create role %_root login superuser;
create role %_relay login bypassrls;

alter role %_app set search_path = tenant_acme, public;
create table public.left_over (id int);

grant temporary on database % to public;
grant temporary on database % to %_app;
grant create on database % to public;
grant create on schema public to public;
grant create on schema tenant_acme to public;

grant usage on schema tenant_acme to public;
grant select on tenant_acme.people to public;
grant select (email) on tenant_globex.people to public;
grant usage on sequence tenant_acme.people_id_seq to public;
alter default privileges for role %_owner in schema tenant_acme grant select on tables to public;

create schema eventing;
create table shared.invoices (tenant_id text, amount int);
create table shared.plans (tenant uuid, id int primary key);
alter table shared.plans enable row level security;
create policy own on shared.plans using (tenant::text = current_setting('mtenant.tenant_id', true));
create table eventing.outbox (tenant_id text);
alter table eventing.outbox enable row level security, force row level security;
create policy everything on eventing.outbox using (true);

create function shared.peek(int, text[]) returns int language sql security definer as 'select 1';
create procedure shared.poke(int) language sql security definer set search_path = shared as 'select 1';
create function tenant_globex.cross() returns int language sql set search_path = tenant_acme as 'select 1';

alter table tenant_globex.people add constraint spy foreign key (boss) references tenant_acme.people;
alter table tenant_acme.people add constraint plan foreign key (boss) references shared.plans;
alter table tenant_acme.people add constraint account foreign key (boss) references tenant_acme.users;
alter table tenant_globex.people add constraint account foreign key (boss) references tenant_globex.users;

create view shared.everybody as select * from tenant_acme.people union select * from tenant_globex.people;
create materialized view tenant_globex.copy as select * from tenant_acme.people;
alter materialized view tenant_globex.copy owner to %_owner;
create rule tap as on insert to tenant_globex.people do also insert into tenant_acme.users values (1);

alter role %_owner login;
create table tenant_initech.by_hand (id int);
alter table tenant_initech.by_hand owner to %_app;
create sequence tenant_initech.numbers;

create extension {extension} schema tenant_acme;

create type tenant_acme.mood as enum ('sad', 'it''s fine');
alter table tenant_acme.people add mood tenant_acme.mood, add second tenant_acme.mood;
create domain tenant_acme.age as int check (value > 0);
alter table tenant_acme.people add age tenant_acme.age;
create type tenant_acme.unused as (a int);
"""

# Check, severity, where, cure.
FOUND = [
    ("superuser", "high", "role %_root", 'ALTER ROLE "%_root" NOSUPERUSER NOBYPASSRLS;'),
    ("superuser", "medium", "role %_relay", 'ALTER ROLE "%_relay" NOBYPASSRLS;'),
    (
        "base-path",
        "high",
        "role %_app",
        'ALTER ROLE "%_app" SET search_path = pg_catalog, pg_temp;',
    ),
    (
        "base-path",
        "medium",
        "database %",
        'ALTER DATABASE "%" SET search_path = pg_catalog, pg_temp;',
    ),
    ("temp", "medium", "database %", 'REVOKE TEMPORARY ON DATABASE "%" FROM PUBLIC;'),
    ("temp", "medium", "database %", 'REVOKE TEMPORARY ON DATABASE "%" FROM "%_app";'),
    ("public-create", "medium", "database %", 'REVOKE CREATE ON DATABASE "%" FROM PUBLIC;'),
    ("public-create", "medium", "schema public", 'REVOKE CREATE ON SCHEMA "public" FROM PUBLIC;'),
    (
        "temp",
        "medium",
        "database %",
        'REVOKE TEMPORARY ON DATABASE "%" FROM "%_owner";',
    ),
    (
        "public-create",
        "high",
        "schema tenant_acme",
        'REVOKE CREATE ON SCHEMA "tenant_acme" FROM PUBLIC;',
    ),
    (
        "public-grants",
        "medium",
        "schema tenant_acme",
        'REVOKE ALL ON SCHEMA "tenant_acme" FROM PUBLIC;',
    ),
    (
        "public-grants",
        "high",
        "schema tenant_acme",
        'REVOKE ALL ON ALL TABLES IN SCHEMA "tenant_acme" FROM PUBLIC;',
    ),
    (
        "public-grants",
        "high",
        "schema tenant_globex",
        'REVOKE ALL ON ALL TABLES IN SCHEMA "tenant_globex" FROM PUBLIC;',
    ),
    (
        "public-grants",
        "medium",
        "schema tenant_acme",
        'REVOKE ALL ON ALL SEQUENCES IN SCHEMA "tenant_acme" FROM PUBLIC;',
    ),
    (
        "public-grants",
        "medium",
        "default privileges of %_owner in schema tenant_acme",
        'ALTER DEFAULT PRIVILEGES FOR ROLE "%_owner" IN SCHEMA "tenant_acme" REVOKE ALL ON TABLES FROM PUBLIC;',
    ),
    (
        "row-security",
        "high",
        "table shared.invoices",
        'ALTER TABLE "shared"."invoices" ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY own_tenant ON "shared"."invoices" USING ("tenant_id" = current_setting(\'mtenant.tenant_id\', true));',
    ),
    (
        "row-security",
        "high",
        "table shared.plans",
        'ALTER TABLE "shared"."plans" ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;',
    ),
    (
        "row-security",
        "high",
        "policy everything on eventing.outbox",
        'DROP POLICY "everything" ON "eventing"."outbox";',
    ),
    (
        "functions",
        "high",
        "function shared.peek",
        'ALTER FUNCTION "shared"."peek"("pg_catalog"."int4", "pg_catalog"."_text") SET search_path = "shared", "pg_temp";',
    ),
    (
        "functions",
        "high",
        "procedure shared.poke",
        'ALTER PROCEDURE "shared"."poke"("pg_catalog"."int4") SET search_path = "shared", "pg_temp";',
    ),
    (
        "functions",
        "high",
        "function tenant_globex.cross",
        'ALTER FUNCTION "tenant_globex"."cross"() SET search_path = "tenant_globex", "pg_temp";',
    ),
    (
        "foreign-keys",
        "high",
        "key spy of tenant_globex.people",
        'ALTER TABLE "tenant_globex"."people" DROP CONSTRAINT "spy";',
    ),
    (
        "foreign-keys",
        "low",
        "key plan of tenant_acme.people",
        'ALTER TABLE "tenant_acme"."people" DROP CONSTRAINT "plan";',
    ),
    ("views", "high", "view shared.everybody", 'DROP VIEW "shared"."everybody";'),
    (
        "views",
        "high",
        "materialized view tenant_globex.copy",
        'DROP MATERIALIZED VIEW "tenant_globex"."copy";',
    ),
    ("views", "high", "rule tenant_globex.people", 'DROP RULE "tap" ON "tenant_globex"."people";'),
    ("owners", "medium", "role %_owner", 'ALTER ROLE "%_owner" NOLOGIN;'),
    (
        "owners",
        "medium",
        "schema tenant_initech",
        'ALTER TABLE "tenant_initech"."by_hand" OWNER TO "%_owner"; GRANT SELECT, INSERT, UPDATE, DELETE ON "tenant_initech"."by_hand" TO "%_app";',
    ),
    (
        "owners",
        "medium",
        "schema tenant_initech",
        'ALTER SEQUENCE "tenant_initech"."numbers" OWNER TO "%_owner";',
    ),
    (
        "extensions",
        "medium",
        "extension {extension} in tenant_acme",
        'CREATE SCHEMA IF NOT EXISTS extensions; ALTER EXTENSION "{extension}" SET SCHEMA extensions;',
    ),
    (
        "types",
        "low",
        "enum tenant_acme.mood",
        'ALTER TABLE "tenant_acme"."people" ALTER COLUMN "mood" TYPE text, ADD CHECK ("mood" IN (\'sad\', \'it\'\'s fine\')), ALTER COLUMN "second" TYPE text, ADD CHECK ("second" IN (\'sad\', \'it\'\'s fine\')); DROP TYPE "tenant_acme"."mood";',
    ),
    ("types", "low", "composite type tenant_acme.unused", 'DROP TYPE "tenant_acme"."unused";'),
    (
        "types",
        "low",
        "domain tenant_acme.age",
        "in a migration, give its columns a built-in type with a CHECK, or a type of the schema shared, and DROP DOMAIN age",
    ),
    (
        "component-keys",
        "low",
        "key account of tenant_acme.people and 1 more like it",
        'in a migration of contact: ALTER TABLE "people" DROP CONSTRAINT "account"',
    ),
]


@pytest.fixture
def sick(patient: Patient) -> Patient:
    """A database that our tools made, and somebody else was at."""
    patient.install("acme", "globex", "initech")
    patient.run(FAULTS.replace("{extension}", extension(patient)))
    for role in ("root", "relay", "app"):
        patient.session(role)
    return patient


def extension(patient: Patient) -> str:
    """Return one that the server has and that can be moved."""
    ((name,),) = patient.run(
        "select name from pg_available_extensions where name in ('vector', 'citext') limit 1"
    )
    return str(name)


def seen(report: Report) -> set[tuple[str, str, str, str]]:
    return {(one.check, one.severity, one.where, one.cure) for one in report.findings}


def test_every_fault_is_found_and_each_cure_that_is_sql_takes_its_own_away(sick: Patient) -> None:
    def real(text: str) -> str:
        return text.replace("{extension}", extension(sick)).replace("%", sick.name)

    wanted = {tuple(map(real, one)) for one in FOUND}
    report = sick.examine()
    assert {one for one in seen(report) if one[0] != "drift"} == wanted
    assert {one.check for one in report.findings} == {*CHECKS}, "a check without a fault here"
    assert (report.clean, report.not_applicable, report.unseen) == ((), (), ())
    assert report.exit_code == 3
    assert all(one.what and "\n" not in one.cure for one in report.findings)

    for one in report.findings:
        if one.is_sql:
            before = seen(sick.examine())
            mine = (one.check, one.severity, one.where, one.cure)
            assert mine in before, "another cure has cured it"
            sick.run(one.cure)
            assert mine not in seen(sick.examine()), one.cure
    left = sick.examine()
    assert {one.check for one in left.findings} == {"types", "component-keys", "drift"}
    assert not any(one.is_sql for one in left.findings)


def test_drift_is_named_with_its_lines(patient: Patient) -> None:
    patient.install("a", "b", "c")
    patient.run("alter table tenant_b.people add oops int")
    (found,) = patient.examine().findings
    assert (found.check, found.where) == ("drift", "schema tenant_b")
    assert "+ column people.oops integer" in found.what
    assert "mtenant-db tenants drift" in found.cure
