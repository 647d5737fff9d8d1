"""The other things that tests of services stand on: each fails where it should."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mtenant_chassis.testing import (
    Place,
    eventually,
    migrate,
    names_above,
    public_names,
    tables_named,
    typed,
)

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
