from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


def _run(path: Path, cwd: Path, **environ: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        cwd=cwd,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs_to_its_end(path: Path, tmp_path: Path) -> None:
    assert _run(path, tmp_path)


def test_the_example_of_the_outbox_carries_its_event_from_a_database(
    tmp_path: Path, postgres_dsn: str
) -> None:
    name = f"example_{uuid4().hex[:8]}"
    with psycopg.connect(postgres_dsn, autocommit=True) as conn:
        conn.execute(f"create database {name}".encode())
    url = psycopg.conninfo.make_conninfo(postgres_dsn, dbname=name)
    told = _run(EXAMPLES[-1], tmp_path, EXAMPLE_DATABASE_URL=url)
    assert told == "handled: acme won d7\n"


def test_the_example_of_publishing_runs_on_a_server(tmp_path: Path, nats_url: str) -> None:
    told = _run(EXAMPLES[1], tmp_path, EXAMPLE_NATS_URL=nats_url)
    assert "acme: deal d7 was won" in told
