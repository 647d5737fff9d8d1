from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mtenant_devstack import process
from mtenant_devstack.process import Process, descendants, find, processes


@pytest.fixture(params=["proc", "ps"])
def _source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of asking; each is the only one on some system."""
    if request.param == "ps":
        if shutil.which("ps", path=os.defpath) is None:
            pytest.skip("this system has no ps")
        monkeypatch.setattr(process, "PROC", Path("/nowhere"))
    elif not process.PROC.exists():
        pytest.skip("this system has no /proc")


@pytest.mark.usefixtures("_source")
def test_a_process_is_found_among_all_and_by_its_pid() -> None:
    me = find(os.getpid())

    assert me is not None
    assert me.parent == os.getppid()
    assert processes()[os.getpid()] == me
    assert os.getpid() in {p.pid for p in descendants(os.getppid())}


@pytest.mark.usefixtures("_source")
def test_a_zombie_has_ended(eventually: Callable[[Callable[[], object]], None]) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        eventually(lambda: find(child.pid) is None)
        assert child.returncode is None


def test_a_new_parent_makes_no_other_process() -> None:
    assert Process(7, parent=1, started="x") == Process(7, parent=2, started="x")
    assert Process(7, parent=1, started="x") != Process(7, parent=1, started="y")
