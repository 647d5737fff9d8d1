"""The first command of the README: the servers, and every example against them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted(path.relative_to(ROOT) for path in ROOT.glob("packages/*/examples/*.py"))
SERVERS = ("DATABASE_URL", "NATS_URL", "REDIS_URL")


def test_every_example_runs_on_the_servers_of_the_demo() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mtenant_devstack", "demo", *map(str, EXAMPLES)],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in SERVERS},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert done.returncode == 0, done.stderr
    for example in EXAMPLES:
        assert str(example) in done.stdout
