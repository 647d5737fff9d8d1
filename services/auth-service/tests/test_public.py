from __future__ import annotations

import doctest
import re
import types
from pathlib import Path

import pytest

import auth_service
from auth_service.domain import api_key, client, email, refresh_token, role, throttle

ROOT = Path(auth_service.__file__).parent
QUERIES = sorted((ROOT / "queries").glob("[a-z]*.py"))
TABLES = {
    "users",
    "sessions",
    "refresh_tokens",
    "password_reset_tokens",
    "email_verification_tokens",
    "api_keys",
    "shared.signing_keys",
}


def test_all_is_sorted_and_names_exactly_what_is_public() -> None:
    public = [
        name
        for name, value in vars(auth_service).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    ]
    assert sorted(public) == sorted(auth_service.__all__)
    assert sorted(auth_service.__all__) == auth_service.__all__


@pytest.mark.parametrize(
    "module",
    [auth_service, api_key, client, email, refresh_token, role, throttle],
    ids=lambda m: m.__name__,
)
def test_what_the_docstrings_show_is_so(module: types.ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted
    assert not found.failed


@pytest.mark.parametrize("path", QUERIES, ids=lambda path: path.stem)
def test_queries_touch_the_services_own_tables_only(path: Path) -> None:
    text = " ".join(re.findall(r'"([^"]*)"', path.read_text())).replace("for update", "")
    ctes = set(re.findall(r"(\w+) as \(\s*(?:insert|update|delete)", text))
    named = set(re.findall(r"\b(?:from|join|into|update)\s+([a-z_.]+)", text))
    assert named
    assert named - ctes <= TABLES


def test_layers_look_down_only() -> None:
    below = {
        "domain": ("queries", "handlers", "routes", "service", "app", "keyring", "tenants"),
        "queries": ("handlers", "routes", "service", "app", "keyring", "tenants"),
        "handlers": ("routes", "app"),
        "routes": ("app",),
    }
    for layer, above in below.items():
        for path in (ROOT / layer).glob("*.py"):
            text = path.read_text()
            for name in above:
                assert f"auth_service.{name}" not in text, (path, name)
            if layer in {"domain", "queries", "handlers"}:
                assert "import fastapi" not in text
                assert "from fastapi" not in text
