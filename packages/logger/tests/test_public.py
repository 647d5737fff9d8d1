from __future__ import annotations

import doctest
import importlib
import json
import re
from pathlib import Path

import pytest

import mtenant_logger
from mtenant_logger.line import RESERVED

SOURCE = Path(mtenant_logger.__file__).parent
MODULES = sorted(path.stem for path in SOURCE.glob("*.py") if path.stem != "__init__")


def test_all_is_sorted_and_is_every_public_name() -> None:
    public = {name for name in vars(mtenant_logger) if not name.startswith("_")} - set(MODULES)

    assert mtenant_logger.__all__ == sorted(mtenant_logger.__all__)
    assert public == set(mtenant_logger.__all__)


def test_every_public_thing_has_a_docstring() -> None:
    for name in mtenant_logger.__all__:
        assert getattr(mtenant_logger, name).__doc__, name


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("name", ["", *MODULES])
def test_the_examples_in_docstrings_hold(name: str) -> None:
    module = importlib.import_module(f"mtenant_logger.{name}".rstrip("."))

    assert doctest.testmod(module).failed == 0


def test_no_module_imports_a_sibling() -> None:
    imports = re.compile(r"^\s*(?:from|import) (mtenant_\w+)", re.MULTILINE)
    found = {name for path in SOURCE.glob("*.py") for name in imports.findall(path.read_text())}

    assert found == {"mtenant_logger"}


def test_the_schema_reserves_what_the_code_reserves() -> None:
    schema = json.loads((SOURCE / "log.schema.json").read_text())

    assert set(schema["properties"]) == RESERVED
