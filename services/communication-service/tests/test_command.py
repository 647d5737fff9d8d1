from __future__ import annotations

import json

import pytest

from communication_service import CommunicationServiceSettings, create
from communication_service.__main__ import run
from mtenant_chassis.testing import Place, migrate, running, typed
from mtenant_config import ConfigError

pytestmark = pytest.mark.anyio

CALLEES = {
    "AUTH_SERVICE_URL": "http://auth",
    "CONTACT_SERVICE_URL": "http://contacts",
    "DEAL_SERVICE_URL": "http://deals",
}


def test_the_command_prints_its_openapi_document() -> None:
    done = typed(run, "openapi", **CALLEES)

    assert done.status == 0
    assert "/api/emails/send" in json.loads(done.out)["paths"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PUBLIC_URL", "crm.example.com"),
        ("PUBLIC_URL", "https://crm.example.com/"),
        ("PUBLIC_URL", "https://crm.example.com"),
        ("PUBLIC_URL", "https://crm.exämple.com"),
        ("PUBLIC_URL", "https://crm.example.com/<x>"),
        ("TRACKING_SECRET", "x" * 32),
        ("TRACKING_SECRET_BEFORE", "short"),
        ("TRACKING_LIFETIME", "7"),
        ("MACHINE_WINDOW", "1h"),
        ("DEAL_SERVICE_URL", ""),
    ],
)
def test_the_command_names_a_setting_that_is_wrong(name: str, value: str) -> None:
    done = typed(run, **{**CALLEES, name: value})

    assert done.status == 2
    assert name in done.err
    assert "x" * 32 not in done.err


async def test_without_a_secret_of_its_own_it_does_not_start(place: Place) -> None:
    app = create(place.settings("communication-service"), CommunicationServiceSettings())
    with pytest.raises(ConfigError, match="SERVICE_CLIENT_SECRET"):
        async with running(app):
            pass


def test_the_command_migrates_an_empty_database(postgres_dsn: str) -> None:
    place = Place.make(postgres_dsn)
    migrate("communication_service", place)
    assert place.rows("select count(*) from shared.communication_schedule") == [(0,)]
