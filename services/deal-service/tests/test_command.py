from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from deal_service import DealServiceSettings, create
from deal_service.__main__ import run
from mtenant_chassis.testing import Place, RecordingEvents, migrate, running, typed
from mtenant_config import ConfigError

CALLEES = {"AUTH_SERVICE_URL": "http://auth", "CONTACT_SERVICE_URL": "http://contact"}


def test_the_command_prints_its_openapi_document() -> None:
    done = typed(run, "openapi", **CALLEES)

    assert done.status == 0
    assert "/api/deals/forecast" in json.loads(done.out)["paths"]


def test_the_command_names_every_setting_that_is_wrong() -> None:
    done = typed(run, **CALLEES, LOOKUP_TIMEOUT="7")

    assert done.status == 2
    assert "LOOKUP_TIMEOUT" in done.err


def test_the_command_migrates_an_empty_database_twice(postgres_dsn: str) -> None:
    place = Place.make(postgres_dsn)
    for _ in range(2):
        migrate("deal_service", place)
    assert place.rows("select head from shared.components where name = 'deal'") == [(2,)]


async def _started(app: Any) -> None:
    async with running(app):
        pass


def test_a_service_that_nobody_would_answer_does_not_start(place: Place) -> None:
    app = create(
        place.settings("deal-service"), DealServiceSettings(), events=RecordingEvents().open
    )
    with pytest.raises(ConfigError, match="SERVICE_CLIENT_SECRET"):
        asyncio.run(_started(app))
