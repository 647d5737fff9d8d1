from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from mtenant_errors.reference import reference

PAGE = Path(__file__).parent.parent / "REFERENCE.md"


def test_the_reference_page_is_not_stale() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "see the second line of the page"


def test_the_command_prints_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_module("mtenant_errors", run_name="__main__")

    assert capsys.readouterr().out == reference()
