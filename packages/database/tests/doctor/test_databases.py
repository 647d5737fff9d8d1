"""Databases that are well, empty, somebody else's, or hardly to be seen; and servers that are not there."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest

from mtenant_database.doctor import Finding, examine
from mtenant_database.doctor.errors import ExaminationFailed
from mtenant_database.doctor.examination import CHECKS
from mtenant_database.doctor.site import Site
from mtenant_database.migrate import MigrateSettings, suspend
from mtenant_database.migrate.__main__ import main

if TYPE_CHECKING:
    from conftest import Patient

# As one that makes a schema for each customer, named like the customer, does it.
FOREIGN = """
create table public.customers (id int primary key, schema_name text);
create table public.users (id int primary key, tenant_id int);
create schema acme; create schema globex; create schema reporting; create schema "Odd Name";
create table acme.orders (id int primary key, by int references public.users);
create table acme.lines (of int references acme.orders);
create table globex.orders (id int primary key, by int references public.users);
create table globex.lines (of int references acme.orders);
create table "Odd Name".orders (id int); create table "Odd Name".lines (id int);
create table reporting.totals (id int); create table reporting.daily (id int);
create view reporting.every_order as select * from acme.orders union select * from globex.orders;
"""


def test_what_our_own_tools_made_is_well(patient: Patient) -> None:
    patient.install("acme", "globex")
    owner = MigrateSettings(owner=f"{patient.name}_owner", app=f"{patient.name}_app")
    asyncio.run(suspend(patient.url("deploy"), "globex", settings=owner))
    report = patient.examine()
    assert (report.findings, report.not_applicable, report.unseen) == ((), (), ())
    assert report.clean == tuple(CHECKS)
    assert (report.tenants, report.guessed, report.exit_code) == (2, False, 0)
    assert report.server.split(".")[0] in {"18", "17", "16", "15"}
    assert report.to_text().splitlines()[-1].startswith("nothing found; 14 checks clean; ")


def test_safe_forms_are_no_findings(patient: Patient) -> None:
    patient.install("acme")
    patient.run(
        "create function shared.parsed() returns int language sql security definer begin atomic select 1; end;"
        "create function shared.qualified() returns int language sql security definer set search_path = ''"
        " as 'select 1';"
        "create function tenant_acme.own() returns int language sql set search_path = tenant_acme as 'select 1';"
        "create table shared.organizations (tenant_id text);"
        "create table shared.settings (tenant_id text);"
        "alter table shared.settings enable row level security, force row level security;"
        "create policy own on shared.settings using (tenant_id = current_setting('mtenant.tenant_id'));"
        "alter table tenant_acme.users add of_tenant text references shared.tenants;"
        "create view tenant_acme.rules as select * from shared.settings;"
        "alter view tenant_acme.rules owner to %_owner;"
        "alter role %_app set search_path = pg_catalog, pg_temp;"
        "alter role %_owner set search_path = tenant_acme;"  # nobody logs in as it
        "create table public.left_over (id int);"
        "alter database % set search_path = pg_catalog, pg_temp"
    )
    assert patient.examine().findings == ()


def test_an_empty_database_is_looked_at_as_far_as_there_is_something(patient: Patient) -> None:
    report = patient.examine()
    assert (report.findings, report.unseen, report.exit_code) == ((), (), 0)
    assert {one.check for one in report.not_applicable} == {
        "row-security",
        "foreign-keys",
        "views",
        "owners",
        "extensions",
        "types",
        "component-keys",
        "drift",
    }
    assert "component-keys, drift: there is no registry (shared.tenants)" in report.to_text()


def test_a_database_that_we_did_not_make(patient: Patient) -> None:
    patient.run(FOREIGN)
    report = patient.examine()
    assert (report.tenants, report.guessed) == (3, True)
    assert "taken for them because they are alike" in report.to_text()
    found = {(one.check, one.where) for one in report.findings}
    assert found == {
        ("base-path", f"database {patient.name}"),
        ("foreign-keys", "key lines_of_fkey of globex.lines"),
        ("foreign-keys", "key orders_by_fkey of acme.orders"),
        ("foreign-keys", "key orders_by_fkey of globex.orders"),
        ("views", "view reporting.every_order"),
        ("owners", "role postgres"),
    }
    assert {one.check: one.why for one in report.not_applicable} == {
        "row-security": "there is no schema shared or eventing",
        "component-keys": "there is no registry (shared.tenants)",
        "drift": "there is no registry (shared.tenants)",
    }


def test_a_registry_of_somebody_else_is_none_of_ours(patient: Patient) -> None:
    patient.run("create schema shared; create table shared.tenants (id uuid primary key)")
    report = patient.examine()
    assert {one.check for one in report.not_applicable} >= {"component-keys", "drift"}
    assert report.unseen == ()


def test_what_the_role_may_not_see_is_not_taken_for_health(patient: Patient) -> None:
    patient.install("acme", "globex")
    patient.run("create role %_guest login; create role %_half login")
    patient.run(
        "grant usage on schema shared to %_half; grant select on all tables in schema shared to %_half"
    )
    report = patient.examine("guest")
    assert (report.findings, report.exit_code) == ((), 1)
    assert {one.check for one in report.unseen} == {"component-keys", "drift"}
    assert "COULD NOT LOOK" in report.to_text()
    half = patient.examine("half")
    assert [(one.check, one.why) for one in half.unseen] == [
        ("component-keys", "the role may not read the ledger of tenant_acme")
    ]
    for role in ("guest", "half"):
        while unseen := patient.examine(role).unseen:  # the registry first, then a ledger
            assert unseen[0].cure is not None
            patient.run(unseen[0].cure)
        assert patient.examine(role).exit_code == 0


def test_a_program_that_owns_everything_is_told_so(new_patient: Callable[[], Patient]) -> None:
    patient = new_patient()
    patient.run("alter role %_owner login; alter database % owner to %_app")
    patient.run("create schema tenant_acme authorization %_app")
    report = patient.examine()
    assert [(one.check, one.is_sql) for one in report.findings] == [
        ("temp", True),
        ("owners", False),
    ]
    patient.run(report.findings[0].cure)
    assert [one.check for one in patient.examine().findings] == ["owners"]


def test_an_owner_that_somebody_is_connected_as_keeps_its_login(
    new_patient: Callable[[], Patient],
) -> None:
    patient = new_patient()
    patient.run("create schema tenant_acme authorization %_owner; alter role %_owner login")
    patient.run("revoke temporary on database % from %_owner")
    assert [one.cure.split()[-1] for one in patient.examine().findings] == ["NOLOGIN;"]
    patient.session("owner")
    (found,) = patient.examine().findings
    assert (found.check, found.is_sql) == ("owners", False)


def test_a_database_without_an_encoding_is_looked_at_as_far_as_it_can_be_read(
    new_patient: Callable[[], Patient],
) -> None:
    patient = new_patient()
    patient.run("create database %_ascii encoding 'SQL_ASCII' locale 'C' template template0")
    ascii_one = replace(patient, database=f"{patient.name}_ascii")
    ascii_one.run("create schema tenant_a; create type tenant_a.\u00e4 as enum ('x')")
    report = ascii_one.examine()
    assert 'enum tenant_a."\u00e4"' in {one.where for one in report.findings}
    ascii_one.run("create type tenant_a.b as enum ('x')")
    ascii_one.run(
        "do $$ begin execute convert_from('\\x616c7465722074797065"  # alter type
        "2074656e616e745f612e622072656e616d6520746f2022e422', 'SQL_ASCII'); end $$"
    )
    (unseen,) = ascii_one.examine().unseen
    assert (unseen.check, unseen.cure) == ("types", None)
    assert "22021 invalid byte sequence" in unseen.why


def test_a_check_that_fails_leaves_the_others(new_patient: Callable[[], Patient]) -> None:
    patient = new_patient()
    patient.run("revoke select on pg_catalog.pg_extension, pg_catalog.pg_policy from public")
    patient.install("acme")
    report = patient.examine()
    assert {one.check for one in report.unseen} == {"extensions", "row-security", "drift"}
    assert all("42501" in one.why and one.cure for one in report.unseen)
    assert len(report.clean) == len(CHECKS) - 3


def test_it_looks_in_a_read_only_transaction_with_a_path_and_limits_of_its_own(
    new_patient: Callable[[], Patient], monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = new_patient()
    patient.run(
        "alter role %_app set search_path = shared; alter role %_app set statement_timeout = 0"
    )

    async def asks(site: Site) -> list[Finding]:
        names = ("transaction_read_only", "search_path", "statement_timeout", "lock_timeout")
        for name in names:
            (row,) = await site.rows("select current_setting(%(name)s) as value", name=name)
            said.append(row["value"])
        return []

    said: list[str] = []
    monkeypatch.setitem(CHECKS, "temp", asks)
    patient.examine()
    assert said == ["on", "pg_catalog, pg_temp", "1min", "3s"]


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://x:hunter2@127.0.0.1:1/none",
        "postgresql://x:hun%zzter2@h/crm",
        "host=h dbname=crm password='hunter2",
        "postgresql://x:hunter2@127.0.0.1:1",
    ],
)
def test_a_server_that_cannot_be_asked_is_1_and_one_line(
    dsn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--dsn", dsn]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("mtenant-db: ")
    assert err.count("\n") == 1
    assert "ter2" not in err


def test_the_failure_is_typed_and_names_the_server() -> None:
    with pytest.raises(ExaminationFailed, match=r"127\.0\.0\.1"):
        asyncio.run(examine("postgresql://x:hunter2@127.0.0.1:1/none"))


def test_a_connection_that_breaks_is_a_failure_and_no_report(
    new_patient: Callable[[], Patient], monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = new_patient()

    async def dies(site: Site) -> list[Finding]:
        await asyncio.to_thread(
            patient.run,
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = '%_app'",
        )
        await site.rows("select 1")
        return []

    monkeypatch.setitem(CHECKS, "temp", dies)
    with pytest.raises(ExaminationFailed):
        patient.examine()


def test_the_command_writes_json_and_says_by_its_status_that_there_are_findings(
    new_patient: Callable[[], Patient], capsys: pytest.CaptureFixture[str]
) -> None:
    patient = new_patient()
    url = f"postgresql://{patient.name}_app@127.0.0.1:{psycopg.conninfo.conninfo_to_dict(patient.admin)['port']}/{patient.name}"
    assert main(["doctor", "--dsn", url]) == 0
    assert "nothing found" in capsys.readouterr().out
    patient.run("grant temporary on database % to public")
    assert main(["doctor", "--dsn", url, "--json"]) == 3
    said = json.loads(capsys.readouterr().out)
    assert (said["exit_code"], said["database"], said["role"]) == (
        3,
        patient.name,
        f"{patient.name}_app",
    )
    assert said["findings"] == [
        {
            "check": "temp",
            "severity": "medium",
            "where": f"database {patient.name}",
            "what": "PUBLIC may make temporary tables: the next tenant on the same connection finds them",
            "cure": f'REVOKE TEMPORARY ON DATABASE "{patient.name}" FROM PUBLIC;',
            "is_sql": True,
        }
    ]


def test_without_a_dsn_the_environment_names_the_server(
    new_patient: Callable[[], Patient],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    patient = new_patient()
    for name in [name for name in os.environ if name.startswith(("DB_", "DATABASE_"))]:
        monkeypatch.delenv(name)
    port = psycopg.conninfo.conninfo_to_dict(patient.admin)["port"]
    monkeypatch.setenv(
        "DATABASE_URL", f"postgresql://{patient.name}_app@127.0.0.1:{port}/{patient.name}"
    )
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.startswith(f"{patient.name} on PostgreSQL 18")
