from __future__ import annotations

import importlib
import re
import types
from pathlib import Path

import pytest

import deal_service

ROOT = Path(deal_service.__file__).parent
QUERIES = sorted(path.stem for path in (ROOT / "queries").glob("[a-z]*.py"))
TABLES = {"pipelines", "stages", "lost_reasons", "deals", "deal_visits", "deal_contacts"}
OF_STATEMENTS = {"sums", "unnest"}  # what a statement makes itself
ABOVE = {
    "domain": ("queries", "handlers", "routes", "app"),
    "queries": ("handlers", "routes", "app"),
    "handlers": ("routes", "app"),
    "routes": ("app",),
}


def test_all_is_sorted_and_names_exactly_what_is_public() -> None:
    public = [
        name
        for name, value in vars(deal_service).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    ]
    assert sorted(public, key=lambda name: (not name.isupper(), name)) == deal_service.__all__


@pytest.mark.parametrize("name", QUERIES)
def test_queries_touch_the_services_own_tables_only(name: str) -> None:
    module = importlib.import_module(f"deal_service.queries.{name}")
    said: list[str] = []
    for constant, value in vars(module).items():
        if re.fullmatch("_[A-Z_]+", constant):
            said += value.values() if isinstance(value, dict) else [value]
    text = re.sub(
        r"for (no key )?update|do update|extract\(epoch from|lateral", "", "; ".join(said)
    )
    named = set(re.findall(r"\b(?:from|join|into|update)\s+([a-z_.]+)", text))
    assert named - OF_STATEMENTS
    assert named - OF_STATEMENTS <= TABLES


@pytest.mark.parametrize("layer", ABOVE)
def test_layers_look_down_only(layer: str) -> None:
    for path in (ROOT / layer).glob("*.py"):
        text = path.read_text()
        for name in ABOVE[layer]:
            assert f"deal_service.{name}" not in text, (path, name)
        if layer != "routes":
            assert "fastapi" not in text, path
        for other in ("auth_service", "tenant_service", "contact_service"):
            assert other not in text, path
