from __future__ import annotations

import doctest
import subprocess
import sys
import types

import mtenant_errors
from mtenant_errors.exceptions import CLASSES


def test_all_is_sorted_and_is_every_public_name() -> None:
    modules = {"conversion", "exceptions", "problem", "rendering", "response", "table", "text"}
    modules |= {"asgi", "reference", "retry_after"}
    public = {name for name in vars(mtenant_errors) if not name.startswith("_")} - modules

    assert mtenant_errors.__all__ == sorted(mtenant_errors.__all__)
    assert public == set(mtenant_errors.__all__)
    assert {cls.__name__ for cls in CLASSES.values()} < public


def test_every_public_thing_has_a_docstring() -> None:
    for name in mtenant_errors.__all__:
        thing = getattr(mtenant_errors, name)
        assert isinstance(thing, types.ModuleType) or thing.__doc__, name


def test_the_docstring_of_the_package_holds() -> None:
    result = doctest.testmod(mtenant_errors)

    assert result.attempted > 0
    assert result.failed == 0


def test_it_needs_the_standard_library_only() -> None:
    program = (
        "import sys, mtenant_errors, mtenant_errors.asgi; "
        "print({n.partition('.')[0] for n in sys.modules} - sys.stdlib_module_names)"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.insert(0, {_source()!r}); {program}",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert done.stdout.strip() in {
        "{'mtenant_errors', '__main__'}",
        "{'__main__', 'mtenant_errors'}",
    }


def _source() -> str:
    return mtenant_errors.__path__[0].removesuffix("mtenant_errors")
