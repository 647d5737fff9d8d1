from __future__ import annotations

import doctest
import importlib
import types
from pathlib import Path

import pytest

import auth_service
from auth_service.domain import api_key, client, email, refresh_token, role, throttle
from mtenant_chassis.testing import names_above, public_names, tables_named

ROOT = Path(auth_service.__file__).parent
QUERIES = sorted(path.stem for path in (ROOT / "queries").glob("[a-z]*.py"))
TABLES = {
    "users",
    "sessions",
    "refresh_tokens",
    "password_reset_tokens",
    "email_verification_tokens",
    "api_keys",
    "shared.signing_keys",
}
ABOVE = {
    "domain": ("queries", "handlers", "routes", "service", "app", "keyring", "tenants"),
    "queries": ("handlers", "routes", "service", "app", "keyring", "tenants"),
    "handlers": ("routes", "app"),
    "routes": ("app",),
}


def test_all_is_sorted_and_names_exactly_what_is_public() -> None:
    assert public_names(auth_service) == auth_service.__all__


@pytest.mark.parametrize(
    "module",
    [auth_service, api_key, client, email, refresh_token, role, throttle],
    ids=lambda m: m.__name__,
)
def test_what_the_docstrings_show_is_so(module: types.ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


@pytest.mark.parametrize("name", QUERIES)
def test_queries_touch_the_services_own_tables_only(name: str) -> None:
    named = tables_named(importlib.import_module(f"auth_service.queries.{name}"))
    assert named
    assert named <= TABLES


def test_layers_look_down_only() -> None:
    for layer, above in ABOVE.items():
        assert names_above(auth_service, layer, above) == []
