from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from communication_service import CommunicationServiceSettings, create
from communication_service.__main__ import run
from mtenant_chassis.testing import Place, running
from mtenant_config import ConfigError

pytestmark = pytest.mark.anyio

CALLEES = {
    "AUTH_SERVICE_URL": "http://auth",
    "CONTACT_SERVICE_URL": "http://contacts",
    "DEAL_SERVICE_URL": "http://deals",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@localhost/nothing")
    for name, value in CALLEES.items():
        monkeypatch.setenv(name, value)


def test_the_command_prints_its_openapi_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["communication-service", "openapi"])

    assert run() == 0
    assert "/api/emails/send" in json.loads(capsys.readouterr().out)["paths"]


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
def test_the_command_names_a_setting_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["communication-service"])

    assert run() == 2
    said = capsys.readouterr().err
    assert name in said
    assert "x" * 32 not in said


async def test_without_a_secret_of_its_own_it_does_not_start(place: Place) -> None:
    app = create(place.settings("communication-service"), CommunicationServiceSettings())
    with pytest.raises(ConfigError, match="SERVICE_CLIENT_SECRET"):
        async with running(app):
            pass


def test_the_command_migrates_an_empty_database(postgres_dsn: str) -> None:
    place = Place.make(postgres_dsn)
    environ = {
        **os.environ,
        "DATABASE_URL": place.owner,
        "DB_OWNER_ROLE": place.migrate.owner or "",
        "DB_APP_ROLE": place.migrate.app or "",
    }
    done = subprocess.run(
        [sys.executable, "-m", "communication_service", "migrate"],
        env=environ,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert place.rows("select count(*) from shared.communication_schedule") == [(0,)]
