from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import communication_service
from mtenant_chassis.testing import names_above, public_names, tables_named

ROOT = Path(communication_service.__file__).parent
QUERIES = sorted(path.stem for path in (ROOT / "queries").glob("[a-z]*.py"))
TABLES = {
    "shared.communication_schedule",
    "activities",
    "activity_links",
    "email_links",
    "email_suppressions",
    "email_template_versions",
    "email_templates",
    "email_tracking",
    "emails",
    "tasks",
}
ABOVE = {
    "domain": ("queries", "handlers", "routes", "app", "scheduler", "subscriptions"),
    "queries": ("handlers", "routes", "app", "scheduler", "subscriptions"),
    "handlers": ("routes", "app", "scheduler", "subscriptions"),
    "routes": ("app", "scheduler", "subscriptions"),
}


def test_all_is_sorted_and_names_exactly_what_is_public() -> None:
    assert public_names(communication_service) == communication_service.__all__


@pytest.mark.parametrize("name", QUERIES)
def test_queries_touch_the_services_own_tables_only(name: str) -> None:
    named = tables_named(importlib.import_module(f"communication_service.queries.{name}"))
    assert named
    assert named <= TABLES


@pytest.mark.parametrize("layer", ABOVE)
def test_layers_look_down_only(layer: str) -> None:
    assert names_above(communication_service, layer, ABOVE[layer]) == []
