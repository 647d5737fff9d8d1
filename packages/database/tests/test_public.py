from __future__ import annotations

import doctest
import pkgutil
import subprocess
import sys

import mtenant_database


def test_all_is_sorted_and_is_every_public_name() -> None:
    modules = {module.name for module in pkgutil.iter_modules(mtenant_database.__path__)}
    public = {name for name in vars(mtenant_database) if not name.startswith("_")}

    assert mtenant_database.__all__ == sorted(mtenant_database.__all__)
    assert public - (modules - {"scope"}) == set(mtenant_database.__all__)


def test_every_public_thing_has_a_docstring() -> None:
    for name in mtenant_database.__all__:
        assert getattr(mtenant_database, name).__doc__, name


def test_the_docstring_of_the_package_holds() -> None:
    result = doctest.testmod(mtenant_database)

    assert result.attempted > 0
    assert result.failed == 0


def test_importing_it_imports_no_dynaconf_and_starts_nothing() -> None:
    program = (
        "import sys, threading, mtenant_database, mtenant_database.asgi, mtenant_database.testing;"
        "print('dynaconf' in sys.modules, threading.active_count())"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert done.stdout.split() == ["False", "1"]
