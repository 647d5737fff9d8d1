from __future__ import annotations

import importlib
import re
import types
from pathlib import Path

import pytest

import contact_service

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
    public = [
        name
        for name, value in vars(contact_service).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    ]
    assert sorted(public) == sorted(contact_service.__all__)


@pytest.mark.parametrize("name", QUERIES)
def test_queries_touch_the_services_own_tables_only(name: str) -> None:
    module = importlib.import_module(f"contact_service.queries.{name}")
    said = [one for key, one in vars(module).items() if re.fullmatch("_[A-Z_]+", key)]
    text = "; ".join(one for one in said if isinstance(one, str))
    text = re.sub(r"for (no key )?update|for key share|do update|from stdin|key share", "", text)
    # Functions that make rows, and what a query names itself, are no tables.
    text = re.sub(r"(from|join) (\w+ ?\(|jsonb?_to_recordset|above\b|below\b|found\b)", "", text)
    named = set(re.findall(r"\b(?:from|join|into|update|copy)\s+([a-z_.]+)", text)) - {"lateral"}
    assert named <= TABLES
    assert named or name == "listing"


@pytest.mark.parametrize("layer", ABOVE)
def test_layers_look_down_only(layer: str) -> None:
    for path in (ROOT / layer).glob("*.py"):
        text = path.read_text()
        for name in ABOVE[layer]:
            assert f"contact_service.{name}" not in text, (path, name)
        if layer != "routes":
            assert "fastapi" not in text, path
        for other in ("auth", "tenant", "deal", "communication"):
            assert f"{other}_service" not in text, path
