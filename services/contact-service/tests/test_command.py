from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from contact_service.__main__ import run
from mtenant_chassis.testing import Place


def test_the_command_prints_its_openapi_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@localhost/nothing")
    monkeypatch.setenv("AUTH_SERVICE_URL", "http://auth")
    monkeypatch.setattr(sys, "argv", ["contact-service", "openapi"])

    assert run() == 0
    assert "/api/contacts/import" in json.loads(capsys.readouterr().out)["paths"]


def test_the_command_names_every_setting_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@localhost/nothing")
    monkeypatch.setenv("AUTH_SERVICE_URL", "http://auth")
    monkeypatch.setenv("LOOKUP_TIMEOUT", "7")
    monkeypatch.setattr(sys, "argv", ["contact-service"])

    assert run() == 2
    assert "LOOKUP_TIMEOUT" in capsys.readouterr().err


def test_the_command_migrates_an_empty_database_twice(postgres_dsn: str) -> None:
    place = Place.make(postgres_dsn)
    environ = {
        **os.environ,
        "DATABASE_URL": place.owner,
        "AUTH_SERVICE_URL": "http://auth",
        "DB_OWNER_ROLE": place.migrate.owner or "",
        "DB_APP_ROLE": place.migrate.app or "",
    }
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "contact_service", "migrate"],
            env=environ,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert place.rows("select count(*) from shared.contact_import_queue") == [(0,)]
