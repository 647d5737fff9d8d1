from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import deal_service
from mtenant_chassis.testing import names_above, public_names, tables_named

ROOT = Path(deal_service.__file__).parent
QUERIES = sorted(path.stem for path in (ROOT / "queries").glob("[a-z]*.py"))
TABLES = {
    "pipelines",
    "stages",
    "lost_reasons",
    "deals",
    "deal_visits",
    "deal_contacts",
    "merged_contacts",
    "deal_custom_fields",
}
ABOVE = {
    "domain": ("queries", "handlers", "routes", "app"),
    "queries": ("handlers", "routes", "app"),
    "handlers": ("routes", "app"),
    "routes": ("app",),
}


def test_all_is_sorted_and_names_exactly_what_is_public() -> None:
    assert public_names(deal_service) == deal_service.__all__


@pytest.mark.parametrize("name", QUERIES)
def test_queries_touch_the_services_own_tables_only(name: str) -> None:
    named = tables_named(importlib.import_module(f"deal_service.queries.{name}"))
    assert named
    assert named <= TABLES


@pytest.mark.parametrize("layer", ABOVE)
def test_layers_look_down_only(layer: str) -> None:
    assert names_above(deal_service, layer, ABOVE[layer]) == []
