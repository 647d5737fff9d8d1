from __future__ import annotations

import importlib
import re
import types
from pathlib import Path

import pytest

import communication_service

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
    public = [
        name
        for name, value in vars(communication_service).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    ]
    assert sorted(public) == sorted(communication_service.__all__)


@pytest.mark.parametrize("name", QUERIES)
def test_queries_touch_the_services_own_tables_only(name: str) -> None:
    module = importlib.import_module(f"communication_service.queries.{name}")
    said: list[str] = []
    for constant, value in vars(module).items():
        if re.fullmatch("_[A-Z_]+", constant):
            said += value.values() if isinstance(value, dict) else [value]
    text = re.sub(r"for (no key )?update|do update|extract\(\w+ from", "", "; ".join(said))
    named = set(re.findall(r"\b(?:from|join|into|update)\s+([a-z_.]+)", text)) - {"unnest"}
    assert named
    assert named <= TABLES


@pytest.mark.parametrize("layer", ABOVE)
def test_layers_look_down_only(layer: str) -> None:
    for path in (ROOT / layer).glob("*.py"):
        text = path.read_text()
        for name in ABOVE[layer]:
            assert f"communication_service.{name}" not in text, (path, name)
        if layer != "routes":
            assert "fastapi" not in text, path
        for other in ("auth_service", "tenant_service", "contact_service", "deal_service"):
            assert other not in text, path
