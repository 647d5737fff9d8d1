from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import conninfo_to_dict

from mtenant_database.migrate.__main__ import main
from mtenant_database.migrate.progress import Bar, Lines, progress_on
from mtenant_database.migrate.report import Result

if TYPE_CHECKING:
    from mtenant_database.migrate.testing import ScratchDatabase

pytest_plugins = ["mtenant_database.migrate.testing"]


class Shell:
    """The command in a folder, with the environment of a deployment."""

    def __init__(
        self, db: ScratchDatabase, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.db = db
        self.folder = folder
        self._capsys = capsys

    def __call__(self, line: str, *more: str, status: int = 0) -> str:
        """Run a line, expect an exit status, and return what it wrote to both streams."""
        found = main([*line.split(), *more])
        out, err = self._capsys.readouterr()
        assert found == status, out + err
        return err + out

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def shell(
    scratch_database: ScratchDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Shell:
    db = scratch_database
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "DATABASE_URL": f"postgresql://{db.settings.owner}_unused@127.0.0.1:1/none",
        "DB_OWNER_ROLE": str(db.settings.owner),
        "DB_APP_ROLE": str(db.settings.app),
        "DB_MIGRATE_COMPONENT": "contact",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("DB_MIGRATE_PATH", raising=False)
    return Shell(db, tmp_path, capsys)


@pytest.fixture
def here(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """The same with a server that is there, and two files."""
    parts = conninfo_to_dict(shell.db.deploy)
    monkeypatch.setenv(
        "DATABASE_URL",
        f"postgresql://{parts['user']}@{parts['host']}:{parts['port']}/{parts['dbname']}",
    )
    shell.write("migrations/shared/001_plans.sql", "create table shared.plans (id int)")
    shell.write("migrations/tenant/001_people.sql", "create table people (id int)")
    shell.write("migrations/tenant/001_rollback.sql", "drop table people")
    return shell


def test_a_folder_goes_to_production_and_back(here: Shell) -> None:
    assert "nothing to do" in here("migrate up")
    assert here("tenants provision acme globex").splitlines() == [
        "acme: active, 1 migrations",
        "globex: active, 1 migrations",
    ]
    here("migrate create --tenant", "add email")
    here.write("migrations/tenant/002_add_email.sql", "alter table people add email text")
    here.write("migrations/tenant/002_rollback.sql", "alter table people drop email")
    assert "new: contact 2 add_email" in here("migrate register")
    assert "nothing new" in here("migrate register")
    assert "contact: head 2, 0 of 2 there\n  acme at 1" in here("migrate status")
    said = here("migrate up")
    assert "2 migrated" in said
    assert "1/2 acme migrated contact 2 add_email (up)" in said
    assert "contact: head 2, 2 of 2 there" in here("migrate status")
    assert "2 migrated" in here("migrate down 1")
    assert "2 migrated" in here("migrate to 2")
    assert "1 migrated" in here("migrate rollback 1 --tenant acme")
    assert json.loads(here("migrate status --json"))[0]["version"] == 1
    assert "acme    active  contact=1" in here("tenants list")
    assert "globex: suspended" in here("tenants suspend globex")
    assert "globex: active" in here("tenants resume globex")
    assert "no drift" in here("tenants drift")
    assert "nobody is there to ask" in here("tenants drop globex", status=1)
    assert "globex: dropped" in here("tenants drop globex --yes")
    assert [one["id"] for one in json.loads(here("tenants list --size --json"))] == ["acme"]
    assert here.db.tables("shared") >= {"plans", "tenants"}


def test_one_schema_that_is_no_tenants(here: Shell) -> None:
    here.db.rows(f"create schema crm authorization {here.db.settings.owner}")
    here.write(
        "flat/001_people.sql", "create table people (id int); create type mood as enum ('a')"
    )
    here.write("flat/001_rollback.sql", "drop table people; drop type mood")
    flat = "--schema crm --path flat"
    assert "1        people  pending" in here(f"migrate status {flat}")
    assert "contact 1 people (up)" in here(f"migrate up {flat}")
    assert "nothing to do" in here(f"migrate up {flat}")
    assert json.loads(here(f"migrate status {flat} --json"))[0]["condition"] == "applied"
    assert "contact 1 people (down)" in here(f"migrate down 1 {flat}")
    assert "contact 1 people (up)" in here(f"migrate to 1 {flat}")
    assert here(f"migrate repair retry {flat}") == ""
    owner = here.db.settings.owner
    here.db.rows(
        f"set role {owner}; create table crm.schema_migrations as select 1::bigint as version, false as dirty"
    )
    assert "crm: 0 adopted" in here(f"migrate adopt golang-migrate {flat}")


def test_partial_is_3_and_aborted_is_1(here: Shell) -> None:
    here("migrate up")
    here("tenants provision a b c")
    here.write(
        "migrations/tenant/002_x.sql",
        "do $$ begin if current_schema() = 'tenant_b' then raise 'no'; end if; end $$",
    )
    said = here("migrate up --max-failures 1", status=3)
    assert "1 failed, 2 migrated" in said
    assert "P0001 in 1: b" in said
    figures = here("migrate up --canary b --json", status=1)
    assert json.loads(figures[figures.index("{") :])["aborted"] == "the canary b failed"
    here.db.rows("alter table tenant_a.people add oops int")
    assert "column people.oops integer" in here("tenants drift", status=3)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("migrate up --path nowhere", "MIGRATION_FILE_INVALID"),
        ("migrate register", "MIGRATION_FILE_INVALID"),
        ("migrate status", "MIGRATION_FAILED"),
        ("tenants provision Acme", "INVALID_TENANT_ID"),
        ("tenants list --dsn postgresql://x:hunter2@127.0.0.1:1/none", "MIGRATION_FAILED"),
    ],
)
def test_what_is_wrong_is_one_line_and_1(
    shell: Shell, line: str, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_MIGRATE_ATTEMPTS", "1")
    said = shell(line, status=1)
    assert said.startswith(f"mtenant-db: {code}: ")
    assert "hunter2" not in said


def test_settings_that_are_wrong_are_all_named(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DB_MIGRATE_ATTEMPTS", "many")
    monkeypatch.setenv("DB_MIGRATE_LOCK_WAIT", "5")
    said = shell("tenants list", status=1)
    assert "DB_MIGRATE_ATTEMPTS" in said
    assert "DB_MIGRATE_LOCK_WAIT" in said


def test_a_folder_without_a_component_is_nobodys(
    here: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DB_MIGRATE_COMPONENT")
    assert "say whose migrations" in here("migrate up", status=1)
    here("migrate up --component contact")
    here("tenants provision acme")
    here.folder.joinpath("migrations").rename(here.folder / "elsewhere")
    assert "nothing to do" in here("migrate up")  # without a folder: whatever is registered


def test_a_connection_string_that_cannot_be_read_is_not_repeated(shell: Shell) -> None:
    for dsn in ("postgresql://u:hun%zzter2@h/crm", "host=h dbname=crm password='hunter2"):
        said = shell("tenants list --dsn", dsn, status=1)
        assert "ter2" not in said
        assert "mtenant-db: " in said


def test_one_tenant_that_cannot_be_made_is_no_reason_not_to_make_the_others(here: Shell) -> None:
    here("migrate up")
    here.db.rows(f"create schema tenant_b authorization {here.db.settings.owner}")
    said = here("tenants provision a b c", status=3)
    assert "a: active, 1 migrations\nc: active, 1 migrations" in said
    assert "b: TENANT_EXISTS: schema tenant_b is there" in said
    assert "TENANT_EXISTS" in here("tenants provision a b", status=1)


def test_wrong_options_are_refused(here: Shell) -> None:
    here("migrate up")
    for line, problem in (
        ("migrate up --max-failures x", "max_failures"),
        ("migrate up --parallel 0", "1 to 100"),
        ("migrate down 0", "1 or more"),
        ("migrate adopt yoyo", "say which"),
        ("migrate rollback 7", "has no migration 7"),
        ("migrate up --tenant acme", "no tenant acme that is active"),
        ("migrate up --canary acme", "no tenant acme that is active"),
    ):
        assert problem in here(line, status=1)


@pytest.mark.parametrize(
    "line",
    ["", "migrate", "migrate sideways", "migrate down", "migrate down x", "tenants provision"],
)
def test_a_wrong_command_is_2(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as info:
        main(line.split())
    assert info.value.code == 2
    assert "usage: mtenant-db" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    ["", *(f"migrate {word}" for word in ("", "up", "down", "to", "rollback", "status", "create",
                                          "register", "repair", "adopt")),
     *(f"tenants {word}" for word in ("", "list", "drift", "provision", "drop", "suspend", "resume"))],
)  # fmt: skip
def test_help_teaches(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as info:
        main([*line.split(), "--help"])
    assert info.value.code == 0
    said = capsys.readouterr().out
    assert "exit status:" in said
    assert "run the same again" in said


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere() -> None:
    terminal, log = Terminal(), io.StringIO()
    for stream, kind in ((terminal, Bar), (log, Lines)):
        progress = progress_on(stream)
        assert isinstance(progress, kind)
        progress.planned(2)
        progress.finished(Result("a", "migrated", ("contact 1 x (up)",)))
        progress.finished(Result("b", "failed", error="no"))
    assert log.getvalue() == "1/2 a migrated contact 1 x (up)\n2/2 b failed no\n"
    assert terminal.getvalue().endswith("[##############################] 2/2, 1 failed\n")
    assert "b: no\n" in terminal.getvalue()
