from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

import mtenant_chassis


def test_all_is_sorted_and_is_every_public_name() -> None:
    modules = {module.name for module in pkgutil.iter_modules(mtenant_chassis.__path__)}
    public = {name for name in vars(mtenant_chassis) if not name.startswith("_")}

    assert mtenant_chassis.__all__ == sorted(mtenant_chassis.__all__)
    assert public - (modules - {"body_limit"}) == set(mtenant_chassis.__all__)


def test_every_public_thing_has_a_docstring() -> None:
    for name in mtenant_chassis.__all__:
        assert getattr(mtenant_chassis, name).__doc__, name


MODULES = [
    module.name for module in pkgutil.walk_packages(mtenant_chassis.__path__, "mtenant_chassis.")
]


@pytest.mark.parametrize("name", ["mtenant_chassis", *MODULES])
def test_what_a_docstring_shows_holds(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_importing_it_starts_nothing_and_makes_nothing_global() -> None:
    program = (
        "import threading, logging, prometheus_client;"
        "before = len(list(prometheus_client.REGISTRY.collect()));"
        "import mtenant_chassis, mtenant_chassis.nats, mtenant_chassis.testing;"
        "print(threading.active_count(), logging.getLogger().handlers,"
        " len(list(prometheus_client.REGISTRY.collect())) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert done.stdout.split() == ["1", "[]", "0"]
