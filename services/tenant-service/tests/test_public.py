from __future__ import annotations

import importlib
import re
import types
from pathlib import Path

import pytest

import tenant_service

ROOT = Path(tenant_service.__file__).parent
QUERIES = sorted(path.stem for path in (ROOT / "queries").glob("[a-z]*.py"))
TABLES = {
    "shared.organizations",
    "shared.subdomains",
    "shared.registrations",
    "shared.removals",
    "shared.invitations",
    "tenant_settings",
    "user_preferences",
}
ABOVE = {
    "domain": ("queries", "handlers", "routes", "app", "worker", "subscriptions"),
    "queries": ("handlers", "routes", "app", "worker", "subscriptions"),
    "handlers": ("routes", "app", "worker", "subscriptions"),
    "routes": ("app", "worker", "subscriptions"),
}


def test_all_is_sorted_and_names_exactly_what_is_public() -> None:
    public = [
        name
        for name, value in vars(tenant_service).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    ]
    assert sorted(public) == tenant_service.__all__


@pytest.mark.parametrize("name", QUERIES)
def test_queries_touch_the_services_own_tables_only(name: str) -> None:
    module = importlib.import_module(f"tenant_service.queries.{name}")
    said: list[str] = []
    for constant, value in vars(module).items():
        if re.fullmatch("_[A-Z_]+", constant):
            said += value.values() if isinstance(value, dict) else [value]
    text = re.sub(r"for (no key )?update|do update", "", "; ".join(said))
    named = set(re.findall(r"\b(?:from|join|into|update)\s+([a-z_.]+)", text))
    assert named
    assert named <= TABLES


@pytest.mark.parametrize("layer", ABOVE)
def test_layers_look_down_only(layer: str) -> None:
    for path in (ROOT / layer).glob("*.py"):
        text = path.read_text()
        for name in ABOVE[layer]:
            assert f"tenant_service.{name}" not in text, (path, name)
        if layer != "routes":
            assert "fastapi" not in text, path
        assert "auth_service" not in text, path
