"""Real processes: two with one secret, one of them restarted."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any
from uuid import uuid4

import httpx2 as httpx
import pytest

from auth_service.app import MIGRATIONS
from mtenant_chassis.testing import Place

DEADLINE = 60.0
PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def place(postgres_dsn: str) -> Place:
    """A database of its own: signing keys are encrypted under this file's secret."""
    return Place.make(postgres_dsn, {"auth": MIGRATIONS})


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def environment(place: Place, **more: str) -> dict[str, str]:
    plain = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {
        **plain,
        "DATABASE_URL": place.app,
        "ENVIRONMENT": "production",
        "DRAIN_DELAY": "0s",
        "TENANT_SERVICE_URL": "http://127.0.0.1:1",
        "AUTH_SECRET": "a secret of two processes, long enough",
        "AUTH_CLIENTS": '{"tenant-service": {"secrets": ["a-secret-of-tenants"],'
        ' "scopes": ["users:manage"]}}',
        **more,
    }


@contextmanager
def process(place: Place, **more: str) -> Iterator[httpx.Client]:
    port = free_port()
    with tempfile.TemporaryFile() as log:
        program = subprocess.Popen(
            [sys.executable, "-m", "auth_service"],
            env=environment(place, PORT=str(port), **more),
            stdout=log,
            stderr=log,
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                _wait(client, program, log)
                yield client
        finally:
            program.send_signal(signal.SIGTERM)
            program.wait(timeout=DEADLINE)
        assert program.returncode == 0


def _wait(client: httpx.Client, program: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            if client.get("/ready").status_code == 200:
                return
        except httpx.HTTPError:
            pass
        if program.poll() is not None or time.monotonic() > deadline:
            program.kill()
            log.seek(0)
            pytest.fail(log.read().decode())
        time.sleep(0.02)


def bearer(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 200, answer.text
    return {"authorization": f"Bearer {answer.json()['access_token']}"}


def test_two_processes_and_one_restarted_believe_the_same_tokens(place: Place, acme: str) -> None:
    credentials = {"tenant": acme, "email": "ada@example.com", "password": PASSWORD}
    with process(place) as one:
        with process(place) as two:
            service = bearer(
                two.post(
                    "/api/auth/token",
                    data={
                        "grant_type": "client_credentials",
                        "audience": "auth-service",
                        "tenant": acme,
                    },
                    auth=("tenant-service", "a-secret-of-tenants"),
                )
            )
            body = {"email": "ada@example.com", "name": "Ada", "role": "owner"}
            made = one.put(
                f"/api/auth/users/{uuid4()}",
                headers=service,
                json={**body, "password": PASSWORD, "email_verified": True},
            )
            assert made.status_code == 201, made.text
            login = two.post("/api/auth/login", json=credentials)
            access = bearer(login)
            keys = two.get("/.well-known/jwks.json").json()
            assert one.get("/api/auth/profile", headers=access).status_code == 200
        with process(place) as again:
            assert again.get("/.well-known/jwks.json").json() == keys
            assert again.get("/api/auth/profile", headers=access).status_code == 200
            said: dict[str, Any] = {"refresh_token": login.json()["refresh_token"]}
            assert again.post("/api/auth/refresh", json=said).status_code == 200
            assert one.post("/api/auth/refresh", json=said).status_code == 200  # in the grace


def test_keys_are_replaced_by_a_command(place: Place) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "auth_service", "replace-keys"],
        env=environment(place, AUTH_SECRET="another secret, also of two processes"),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    rows = place.rows("select kid from shared.signing_keys")
    assert done.stdout == f"new signing key: {rows[0][0]}\n"
    place.rows("delete from shared.signing_keys")  # this file's other tests have another secret
