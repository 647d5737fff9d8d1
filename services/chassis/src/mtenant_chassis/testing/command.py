"""A service's command, as it is typed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from unittest.mock import patch

from mtenant_chassis.testing.place import Place


@dataclass(frozen=True)
class Typed:
    """A command that has ended.

    Attributes:
        status: Its exit status.
        out: What it said.
        err: What it complained about.
    """

    status: int
    out: str
    err: str


def typed(run: Callable[[], int], *arguments: str, **environ: str) -> Typed:
    """Run a service's command in this process, for what ends by itself: `openapi`, wrong settings.

    Args:
        run: The command.
        *arguments: Its arguments.
        **environ: Variables that it finds; the database's URL leads nowhere by default.
    """
    variables = {"DATABASE_URL": "postgresql://nobody@localhost/nothing", **environ}
    out, err = StringIO(), StringIO()
    with (
        patch.dict(os.environ, variables),
        patch.object(sys, "argv", ["service", *arguments]),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        status = run()
    return Typed(status, out.getvalue(), err.getvalue())


def migrate(package: str, place: Place) -> None:
    """Run `python -m <package> migrate` on a place, as the owner of its schemas.

    Args:
        package: The service's import name.
        place: The database.

    Raises:
        AssertionError: The command failed; with what it complained about.
    """
    roles = {"DB_OWNER_ROLE": place.migrate.owner or "", "DB_APP_ROLE": place.migrate.app or ""}
    done = subprocess.run(  # noqa: S603 - a service of this environment
        [sys.executable, "-m", package, "migrate"],
        env={**os.environ, "DATABASE_URL": place.owner, **roles},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"{package} migrate: {done.returncode} {done.stderr}")
