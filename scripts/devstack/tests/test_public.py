from __future__ import annotations

import doctest
import subprocess
import sys

import mtenant_devstack


def test_the_public_names_are_sorted_and_there() -> None:
    names = mtenant_devstack.__all__

    assert names == sorted(names)
    assert all(getattr(mtenant_devstack, name) is not None for name in names)
    assert all(getattr(mtenant_devstack, name).__doc__ for name in names if name != "Mode")


def test_the_doctest_of_the_package_passes() -> None:
    results = doctest.testmod(mtenant_devstack)

    assert results.attempted
    assert not results.failed


def test_importing_loads_no_other_package() -> None:
    program = """
import sys
before = set(sys.modules)
import mtenant_devstack
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
assert loaded <= {"mtenant_devstack", "__mp_main__"} | sys.stdlib_module_names, loaded
"""
    command = [sys.executable, "-c", program]
    subprocess.run(command, check=True, timeout=30)
