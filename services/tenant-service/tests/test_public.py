from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import tenant_service
from mtenant_chassis.testing import names_above, public_names, tables_named

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
    assert public_names(tenant_service) == tenant_service.__all__


@pytest.mark.parametrize("name", QUERIES)
def test_queries_touch_the_services_own_tables_only(name: str) -> None:
    named = tables_named(importlib.import_module(f"tenant_service.queries.{name}"))
    assert named
    assert named <= TABLES


@pytest.mark.parametrize("layer", ABOVE)
def test_layers_look_down_only(layer: str) -> None:
    assert names_above(tenant_service, layer, ABOVE[layer]) == []
