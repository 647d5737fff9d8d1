from __future__ import annotations

import json

from contact_service.__main__ import run
from mtenant_chassis.testing import Place, migrate, typed

CALLEES = {"AUTH_SERVICE_URL": "http://auth"}


def test_the_command_prints_its_openapi_document() -> None:
    done = typed(run, "openapi", **CALLEES)

    assert done.status == 0
    assert "/api/contacts/import" in json.loads(done.out)["paths"]


def test_the_command_names_every_setting_that_is_wrong() -> None:
    done = typed(run, **CALLEES, LOOKUP_TIMEOUT="7")

    assert done.status == 2
    assert "LOOKUP_TIMEOUT" in done.err


def test_the_command_migrates_an_empty_database_twice(postgres_dsn: str) -> None:
    place = Place.make(postgres_dsn)
    for _ in range(2):
        migrate("contact_service", place)
    assert place.rows("select count(*) from shared.contact_import_queue") == [(0,)]
