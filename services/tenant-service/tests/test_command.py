from __future__ import annotations

import json

from mtenant_chassis.testing import Place, migrate, typed
from tenant_service.__main__ import run

CALLEES = {"AUTH_SERVICE_URL": "http://auth"}


def test_the_command_prints_its_openapi_document() -> None:
    done = typed(run, "openapi", **CALLEES)

    assert done.status == 0
    assert "/api/tenants/register" in json.loads(done.out)["paths"]


def test_the_command_names_every_setting_that_is_wrong() -> None:
    done = typed(run, **CALLEES, INVITATION_LIFETIME="7")

    assert done.status == 2
    assert "INVITATION_LIFETIME" in done.err


def test_the_command_migrates_an_empty_database_twice(postgres_dsn: str) -> None:
    place = Place.make(postgres_dsn)
    for _ in range(2):
        migrate("tenant_service", place)
    assert place.rows("select count(*) from shared.organizations") == [(0,)]
