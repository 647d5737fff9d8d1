"""Requests that an app's document allows, and many that it does not."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

_HOOKS: Final = Path(__file__).with_name("fuzz_hooks.py")


async def fuzz(
    url: str,
    token: str,
    *options: str,
    config: Path,
    directory: Path,
    paths: str = "^/api/",
    timeout: float = 600.0,  # noqa: ASYNC109 - the subprocess has it
) -> None:
    """Ask a served app everything, by schemathesis, which must be installed.

    Args:
        url: Where it is served.
        token: Whose the requests are.
        *options: Others for its command, such as `--phases`.
        config: Its configuration file.
        directory: Where it may write what it has sent.
        paths: Which paths are asked.
        timeout: For all, in seconds.

    Raises:
        AssertionError: The app failed, or answered off its document; with what was found.
    """
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)),
        *("run", f"{url}/openapi.json", "--include-path-regex", paths),
        *("--header", f"Authorization: Bearer {token}", "--no-color", *options),
        # On a connection that is kept, a small answer may wait 40 ms for an acknowledgement (Nagle).
        *("--header", "Connection: close"),
    ]
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=directory,
        env={**os.environ, "SCHEMATHESIS_HOOKS": str(_HOOKS)},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"{done.stdout[-6000:]}{done.stderr[-2000:]}")
