from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import contact_service
from mtenant_chassis.testing import names_above, public_names, tables_named

ROOT = Path(contact_service.__file__).parent
QUERIES = sorted(path.stem for path in (ROOT / "queries").glob("[a-z]*.py"))
TABLES = {
    "contacts",
    "companies",
    "custom_fields",
    "imports",
    "import_rows",
    "shared.contact_import_queue",
}
ABOVE = {
    "domain": ("queries", "handlers", "routes", "app", "worker", "subscriptions"),
    "queries": ("handlers", "routes", "app", "worker", "subscriptions"),
    "handlers": ("routes", "app", "worker", "subscriptions"),
    "routes": ("app", "worker", "subscriptions"),
}


def test_all_is_sorted_and_names_exactly_what_is_public() -> None:
    assert public_names(contact_service) == contact_service.__all__


@pytest.mark.parametrize("name", QUERIES)
def test_queries_touch_the_services_own_tables_only(name: str) -> None:
    named = tables_named(importlib.import_module(f"contact_service.queries.{name}"))
    assert named or name == "listing"
    assert named <= TABLES


@pytest.mark.parametrize("layer", ABOVE)
def test_layers_look_down_only(layer: str) -> None:
    assert names_above(contact_service, layer, ABOVE[layer]) == []
