"""The other things that tests of services stand on: each fails where it should."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import httpx2 as httpx
import pytest

from mtenant_chassis.testing import (
    Explaining,
    Issuer,
    Place,
    Process,
    eventually,
    migrate,
    names_above,
    public_names,
    publishing_keys,
    scans,
    tables_named,
    typed,
)
from mtenant_config import Secret
from mtenant_database import Database, DatabaseConfig

pytestmark = pytest.mark.anyio


async def test_what_happens_in_time_is_waited_for() -> None:
    answers = iter([False, None, 0, True])

    async def slowly() -> object:
        return next(answers)

    await eventually(slowly)
    assert next(answers, "all asked") == "all asked"


async def test_what_does_not_happen_in_time_fails() -> None:
    with pytest.raises(AssertionError, match="did not happen"):
        await eventually(lambda: False, within=0)


def test_a_command_finds_its_words_and_variables_and_nobody_else_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run() -> int:
        print(sys.argv[1:], os.environ["WORD"])
        print("trouble", file=sys.stderr)
        return 2

    monkeypatch.delenv("WORD", raising=False)
    done = typed(run, "openapi", WORD="x")

    assert (done.status, done.out, done.err) == (2, "['openapi'] x\n", "trouble\n")
    assert "WORD" not in os.environ


def test_a_migration_that_fails_says_why(place: Place) -> None:
    with pytest.raises(AssertionError, match="No module named no_service"):
        migrate("no_service", place)


@pytest.fixture
def note_service(tmp_path: Path) -> ModuleType:
    """A package whose domain knows too much."""
    package = ModuleType("note_service")
    package.__file__ = str(tmp_path / "__init__.py")
    files = {
        "domain/note.py": "from note_service.queries import note\nimport fastapi\n",
        "queries/note.py": "from deal_service.queries import deal\n",
        "routes/note.py": "from fastapi import Body\nfrom note_service.domain import note\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    return package


@pytest.mark.parametrize(
    ("layer", "found"),
    [
        ("domain", ["note.py: note_service.queries", "note.py: fastapi"]),
        ("queries", ["note.py: deal_service"]),
        ("routes", []),
    ],
)
def test_a_layer_that_looks_up_or_aside_is_found(
    layer: str, found: list[str], note_service: ModuleType
) -> None:
    assert names_above(note_service, layer, ("queries", "routes")) == found


def test_a_layer_that_is_not_there_is_a_mistake_of_the_test(note_service: ModuleType) -> None:
    with pytest.raises(ValueError, match="no layer handlers"):
        names_above(note_service, "handlers", ())


def test_public_is_what_is_neither_hidden_nor_a_module() -> None:
    package = ModuleType("note_service")
    vars(package).update(create=1, _made=2, LIMIT=3, Note=4, os=sys)

    assert public_names(package) == ["LIMIT", "Note", "create"]


@pytest.mark.parametrize(
    ("statement", "tables"),
    [
        ("select 1 from notes join shared.people on true for update", {"notes", "shared.people"}),
        ("insert into notes (id) values (1) on conflict do update set id = 2", {"notes"}),
        ("with recursive up (id) as (select id from notes) select id from up", {"notes"}),
        ("select extract(epoch from made_at) from notes", {"notes"}),
        ("select id from unnest(%s) id join lateral jsonb_each(x) on true", set()),
        ("copy notes (id) from stdin", {"notes"}),
        ("update notes set id = 1 where id in (select id from others)", {"notes", "others"}),
    ],
)
def test_the_tables_of_a_statement_are_those_that_it_does_not_make(
    statement: str, tables: set[str]
) -> None:
    module = ModuleType("queries")
    vars(module).update(_ONE=statement, _MORE={"by": statement}, _LIMIT=5, other="from elsewhere")

    assert tables_named(module) == tables


async def test_what_is_read_from_end_to_end_is_told(place: Place) -> None:
    tenant = await place.new_tenant()
    place.rows(
        f"set role {place.migrate.owner}; create table tenant_{tenant}.pens (a int primary key)"
    )
    place.rows(f"insert into tenant_{tenant}.pens select generate_series(1, 5000)")
    place.rows(f"analyze tenant_{tenant}.pens")
    config = DatabaseConfig(url=Secret(place.app), max_retries=0, max_idle_conns=1)
    async with Database(config) as database, database.tenant(tenant).transaction() as tx:
        explaining = Explaining(tx)
        assert explaining.tenant == tenant
        one = await explaining.fetch_value("select a from pens where a = %s", [7])
        await explaining.execute(b"delete from pens where a + 1 = 5")
        left = await tx.fetch_value("select count(*) from pens")
    assert (one, left) == (7, 4999)
    found = [(plan.params, [*scans(plan.plan, {"pens"})]) for plan in explaining.plans]
    assert found == [([7], []), (None, ["pens"])]
    assert [*scans(explaining.plans[1].plan, {"pencils"})] == []


def test_the_key_of_an_issuer_is_found_where_auth_service_has_it() -> None:
    issuer = Issuer()
    with publishing_keys(issuer) as url:
        (key,) = httpx.get(f"{url}/.well-known/jwks.json").json()["keys"]
    assert (key["kid"], "d" in key) == (issuer.kid, False)


SERVICE = """
import os, signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Ready(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args):
        pass

signal.signal(signal.SIGTERM, lambda *_: sys.exit(int(os.environ["STATUS"])))
HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Ready).serve_forever()
"""


async def test_a_process_is_killed_started_again_and_stopped(place: Place, tmp_path: Path) -> None:
    (tmp_path / "a_service.py").write_text(SERVICE)
    (tmp_path / "none.py").write_text("")
    process = Process("a_service", place, "nats://none", PYTHONPATH=str(tmp_path), STATUS="1")
    process.start()
    await process.ready()
    process.kill()
    process.start(STATUS="7")
    await process.ready()
    assert process.stop() == 7
    ends = Process("none", place, "nats://none", PYTHONPATH=str(tmp_path))
    ends.start()
    with pytest.raises(AssertionError, match="none ended with 0"):
        await ends.ready()
    with pytest.raises(AssertionError, match="none had ended with 0 before"):
        ends.kill()
    with pytest.raises(RuntimeError, match="start it first"):
        Process("none", place, "nats://none").stop()
