from __future__ import annotations

import pytest

from mtenant_database.migrate import Migration, RuleBroken
from mtenant_database.migrate.rules import check_rules, without_concurrently
from mtenant_database.migrate.script import Script


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("create type mood as enum ('a')", "CREATE TYPE"),
        ("create domain email as text", "CREATE DOMAIN"),
        ("create extension if not exists vector", "CREATE EXTENSION"),
        ("drop table people cascade", "CASCADE"),
        ("truncate people cascade", "CASCADE"),
        ("alter table people drop column a cascade", "CASCADE"),
        ("drop schema tenant_other", "DROP SCHEMA"),
        ("drop owned by someone", "DROP OWNED"),
        ("drop table public.people", "it names a schema"),
        ("truncate only tenant_b.people", "it names a schema"),
        ("set search_path to tenant_b", "keeps the role and the search path"),
        ("set local schema 'tenant_b'", "keeps the role and the search path"),
        ("set session authorization postgres", "keeps the role and the search path"),
        ("reset role", "keeps the role and the search path"),
        ("reset all", "keeps the role and the search path"),
    ],
)
def test_what_no_tenant_file_may_say_is_refused_with_its_line(text: str, problem: str) -> None:
    for up, down in ((f"select 1;\n{text}", None), ("select 1", f"select 1;\n{text}")):
        with pytest.raises(RuleBroken) as info:
            check_rules(Migration.of("contact", 1, "x", up, down))
        assert problem in info.value.message
        assert ":2:" in info.value.message


@pytest.mark.parametrize(
    "text",
    [
        "create table a (b int references c on delete cascade on update cascade)",
        "alter table a add foreign key (b) references c on delete cascade",
        'alter table a drop column "CASCADE"',
        "comment on table a is 'drop table b cascade'",
        "create index type on a (b)",
        "drop function f(shared.mood)",
        "revoke all on a from b cascade",
        "set local lock_timeout to '1s'",
        "reset lock_timeout",
        "create function f() returns int language sql set search_path to pg_catalog as 'select 1'",
        "select typ.cascade from typ -- cascade",
    ],
)
def test_what_only_looks_like_it_is_allowed(text: str) -> None:
    check_rules(Migration.of("contact", 1, "x", text))


def test_concurrently_is_left_out_for_empty_tables_and_nothing_else_changes() -> None:
    script = Script(
        "-- migrate: no-transaction\n-- concurrently, that is\n"
        "create index Concurrently if not exists a on b (c) where d = 'concurrently';\n"
        "vacuum b; reindex (concurrently) index a;\n"
        "drop index concurrently a; /* concurrently */ refresh materialized view concurrently m",
        "x",
    )
    assert without_concurrently(script) == (
        "-- migrate: no-transaction\n-- concurrently, that is\n"
        "create index  if not exists a on b (c) where d = 'concurrently';"
        "\ndrop index  a; /* concurrently */ refresh materialized view  m"
    )
