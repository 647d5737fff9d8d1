"""Pytest fixtures: the URLs of real servers, each started when a test first asks for it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from mtenant_devstack import DevstackError, Server, Stack


@pytest.fixture(scope="session")
def _devstack() -> Iterator[Stack]:
    with Stack(servers=()) as stack:
        yield stack


@pytest.fixture(scope="session")
def postgres_dsn(request: pytest.FixtureRequest) -> str:
    """The URL of a PostgreSQL in quick mode, as superuser; $DATABASE_URL if that is set."""
    return os.environ.get("DATABASE_URL") or _start(request, "postgres").url


@pytest.fixture(scope="session")
def nats_url(request: pytest.FixtureRequest) -> str:
    """The URL of a NATS with JetStream; $NATS_URL if that is set."""
    return os.environ.get("NATS_URL") or _start(request, "nats").url


@pytest.fixture(scope="session")
def redis_url(request: pytest.FixtureRequest) -> str:
    """The URL of a Valkey; $REDIS_URL if that is set."""
    return os.environ.get("REDIS_URL") or _start(request, "valkey").url


def _start(request: pytest.FixtureRequest, name: str) -> Server:
    try:
        stack: Stack = request.getfixturevalue("_devstack")
        server: Server = getattr(stack, name)
        server.start()
    except DevstackError as exc:
        pytest.fail(str(exc), pytrace=False)  # one clear line instead of a page
    return server
