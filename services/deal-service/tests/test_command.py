from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from deal_service import DealServiceSettings, create
from deal_service.__main__ import run
from mtenant_chassis.testing import Place, RecordingEvents, running
from mtenant_config import ConfigError


def test_the_command_prints_its_openapi_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@localhost/nothing")
    monkeypatch.setenv("AUTH_SERVICE_URL", "http://auth")
    monkeypatch.setenv("CONTACT_SERVICE_URL", "http://contact")
    monkeypatch.setattr(sys, "argv", ["deal-service", "openapi"])

    assert run() == 0
    assert "/api/deals/forecast" in json.loads(capsys.readouterr().out)["paths"]


def test_the_command_names_every_setting_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@localhost/nothing")
    monkeypatch.setenv("AUTH_SERVICE_URL", "http://auth")
    monkeypatch.setenv("CONTACT_SERVICE_URL", "http://contact")
    monkeypatch.setenv("LOOKUP_TIMEOUT", "7")
    monkeypatch.setattr(sys, "argv", ["deal-service"])

    assert run() == 2
    assert "LOOKUP_TIMEOUT" in capsys.readouterr().err


def test_the_command_migrates_an_empty_database_twice(postgres_dsn: str) -> None:
    place = Place.make(postgres_dsn)
    environ = {
        **os.environ,
        "DATABASE_URL": place.owner,
        "AUTH_SERVICE_URL": "http://auth",
        "CONTACT_SERVICE_URL": "http://contact",
        "DB_OWNER_ROLE": place.migrate.owner or "",
        "DB_APP_ROLE": place.migrate.app or "",
    }
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "deal_service", "migrate"],
            env=environ,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    found = place.rows("select head from shared.components where name = 'deal'")
    assert found == [(1,)]


async def _started(app: Any) -> None:
    async with running(app):
        pass


def test_a_service_that_nobody_would_answer_does_not_start(place: Place) -> None:
    app = create(
        place.settings("deal-service"), DealServiceSettings(), events=RecordingEvents().open
    )
    with pytest.raises(ConfigError, match="SERVICE_CLIENT_SECRET"):
        asyncio.run(_started(app))
