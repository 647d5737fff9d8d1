"""The builder of queries before a type checker: text of unknown origin is refused where SQL is meant."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_a_type_checker_refuses_text_where_sql_is_meant(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from mtenant_database.query import delete, raw, select, table, update\n"
        "contacts = table('contacts')\n"
        "def use(given: str) -> None:\n"
        "    raw(given)  # 4\n"
        "    select(given, from_=contacts)  # 5\n"
        "    select(from_=contacts).where(given)  # 6\n"
        "    select(from_=contacts).order_by(given)  # 7\n"
        "    select(from_=contacts).limit(given)  # 8\n"
        "    select(from_=contacts).group_by(given)  # 9\n"
        "    delete(contacts).returning(given)  # 10\n"
        "    contacts['a'].asc(nulls=given)  # 11\n"
        "    update(contacts, name=given).where(contacts['id'] == given)\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--no-incremental",
            "--config-file=",
            str(program),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    wrong = {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line}
    assert wrong == set(range(4, 12)), done.stdout + done.stderr
