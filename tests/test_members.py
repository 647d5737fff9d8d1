"""What every member of the workspace owes its users, whoever adds it."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _ask(*what: str) -> str:
    asked = [sys.executable, str(ROOT / "scripts" / "members.py"), *what]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


NAMES = _ask().splitlines()


@pytest.fixture(params=NAMES)
def member(request: pytest.FixtureRequest) -> Path:
    return ROOT / _ask("path", request.param)


def _project(member: Path) -> dict[str, Any]:
    return tomllib.loads((member / "pyproject.toml").read_text(encoding="utf-8"))


def _source(member: Path) -> Path:
    return next((member / "src").iterdir())


def test_a_member_comes_with_its_papers(member: Path) -> None:
    for paper in ("README.md", "CHANGELOG.md", "LICENSE"):
        assert (member / paper).stat().st_size > 100, paper
    assert (_source(member) / "py.typed").is_file()


def test_a_member_tests_alone_because_it_has_a_dev_group_of_its_own(member: Path) -> None:
    names = [r for r in _project(member)["dependency-groups"]["dev"] if isinstance(r, str)]

    assert any(name.startswith("pytest") for name in names)
    assert any(name.startswith("coverage") for name in names)


def test_a_dependency_on_a_sibling_carries_a_range(member: Path) -> None:
    project = _project(member)["project"]
    extras = project.get("optional-dependencies", {}).values()
    wanted = [*project["dependencies"], *(one for extra in extras for one in extra)]
    siblings = [one for one in wanted if one.startswith("mtenant-")]

    for one in siblings:
        assert re.fullmatch(r"mtenant-[a-z]+(\[[a-z,]+\])?>=[\d.]+,<[\d.]+", one), one


def test_sources_of_siblings_stand_only_in_the_root(member: Path) -> None:
    assert "tool" not in _project(member) or "uv" not in _project(member)["tool"]


def test_only_tried_versions_of_python_are_claimed(member: Path) -> None:
    claimed = [c for c in _project(member)["project"]["classifiers"] if "Python :: 3." in c]

    assert claimed == ["Programming Language :: Python :: 3.11"]


def test_the_front_door_runs_nothing(member: Path) -> None:
    """An `__init__.py` is a docstring, imports and `__all__`."""
    tree = ast.parse((_source(member) / "__init__.py").read_text(encoding="utf-8"))
    docstring, *rest = tree.body

    assert isinstance(docstring, ast.Expr)
    for statement in rest:
        is_all = (
            isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__"
        )
        assert isinstance(statement, ast.Import | ast.ImportFrom) or is_all, ast.unparse(statement)


def test_all_names_are_sorted_and_importable(member: Path) -> None:
    module = importlib.import_module(_source(member).name)
    names = module.__all__

    # Constants, classes, functions: the order that ruff keeps.
    assert names == sorted(names, key=lambda name: (not name.isupper(), name[0].islower(), name))
    assert all(hasattr(module, name) for name in names)


def test_the_docstring_of_the_front_door_holds(member: Path) -> None:
    name = _source(member).name
    program = (
        f"import doctest, {name} as m; r = doctest.testmod(m); "
        "print(r.attempted); raise SystemExit(r.failed)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT
    )

    assert done.returncode == 0, done.stdout
    assert int(done.stdout) > 0, "no doctest"


def test_importing_a_member_does_nothing(member: Path) -> None:
    """No thread, no connection, no handler, nothing that takes long: an import is free."""
    name = _source(member).name
    program = f"""
import json, logging, sys, threading
opened = []
sys.addaudithook(lambda event, args: opened.append(repr(args)) if event == "socket.connect" else None)
before = logging.getLogger().handlers[:]
import {name}
print(json.dumps({{
    "threads": threading.active_count(),
    "opened": opened,
    "handlers": len(logging.getLogger().handlers) - len(before),
    "heavy": sorted({{"dynaconf", "pytest", "fastapi"}} & sys.modules.keys()),
}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )

    # What a service is made of, it has to import; a library is taken into programs of any kind.
    heavy = ["fastapi"] if member.parent.name == "services" else []
    assert json.loads(done.stdout) == {"threads": 1, "opened": [], "handlers": 0, "heavy": heavy}
    assert done.stderr == ""


def test_the_matrix_has_a_row_for_every_member_and_python() -> None:
    rows = json.loads(_ask("matrix"))["include"]

    assert {row["member"] for row in rows} == set(NAMES)
    assert len({row["python"] for row in rows}) * len(NAMES) == len(rows)
    assert len(json.loads(_ask("matrix-once"))["include"]) == len(NAMES)
