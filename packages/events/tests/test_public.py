from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

import mtenant_events

MODULES = [
    module.name
    for module in pkgutil.walk_packages(mtenant_events.__path__, "mtenant_events.")
    if not module.name.endswith("__main__")
]


def test_all_is_sorted_and_is_every_public_name() -> None:
    modules = {module.name for module in pkgutil.iter_modules(mtenant_events.__path__)}
    public = {name for name in vars(mtenant_events) if not name.startswith("_")}

    assert mtenant_events.__all__ == sorted(mtenant_events.__all__)
    assert public - modules == set(mtenant_events.__all__)


def test_every_public_thing_has_a_docstring() -> None:
    for name in mtenant_events.__all__:
        assert getattr(mtenant_events, name).__doc__, name


@pytest.mark.parametrize("name", ["mtenant_events", *MODULES])
def test_the_docstrings_hold(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_the_package_has_an_example_in_its_docstring() -> None:
    assert doctest.testmod(mtenant_events).attempted > 0


def test_importing_it_imports_no_extra_and_starts_nothing() -> None:
    program = (
        "import sys, threading, mtenant_events, mtenant_events.asgi, mtenant_events.memory,"
        " mtenant_events.testing, mtenant_events.outbox, mtenant_events.inbox;"
        "print([n for n in ('dynaconf', 'psycopg', 'msgspec', 'pydantic') if n in sys.modules],"
        " threading.active_count())"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert done.stdout.strip() == "[] 1"
