"""A service as a process of its own, which can be killed and started again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import httpx2 as httpx

from mtenant_chassis.testing.issuer import Issuer
from mtenant_chassis.testing.place import Place

DEADLINE: Final = 60.0
"""Seconds for a process to be ready, or to end."""


class Process:
    """A process of a service, on a port of its own that it keeps.

    Args:
        module: What `python -m` runs, such as `contact_service`.
        place: Where its tables are.
        nats_url: Of its server.
        **environ: What it reads besides.

    Attributes:
        url: Where it listens.
    """

    def __init__(self, module: str, place: Place, nats_url: str, **environ: str) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            port: int = taken.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._module = module
        self._environ = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "DATABASE_URL": place.app,
            "NATS_URL": nats_url,
            "PORT": str(port),
            "LOG_LEVEL": "error",
            "ENVIRONMENT": "production",
            "DRAIN_DELAY": "0s",
            **environ,
        }
        self._program: subprocess.Popen[bytes] | None = None

    def start(self, **more: str) -> None:
        """Start it; what it reads from now on may be more."""
        self._environ |= more
        self._program = subprocess.Popen(  # noqa: S603 - a program of ours
            [sys.executable, "-m", self._module], env=self._environ, stdout=subprocess.DEVNULL
        )

    async def ready(self) -> None:
        """Wait until it answers.

        Raises:
            AssertionError: It has ended.
            TimeoutError: It does not answer in time.
        """
        async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(DEADLINE):
            while True:
                with suppress(httpx.HTTPError):
                    if (await client.get(f"{self.url}/ready")).status_code == 200:
                        return
                if (status := self._running.poll()) is not None:
                    raise AssertionError(f"{self._module} ended with {status}")
                await asyncio.sleep(0.02)

    def kill(self) -> None:
        """Let it end in the middle of whatever it does.

        Raises:
            AssertionError: It had ended by itself before.
        """
        self._running.kill()
        if (status := self._running.wait(timeout=DEADLINE)) != -signal.SIGKILL:
            raise AssertionError(f"{self._module} had ended with {status} before it was killed")

    def stop(self) -> int:
        """Let it end in good order; return its exit status."""
        self._running.send_signal(signal.SIGTERM)
        return self._running.wait(timeout=DEADLINE)

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._program is None:
            raise RuntimeError("start it first")
        return self._program


@contextmanager
def publishing_keys(issuer: Issuer) -> Iterator[str]:
    """Serve the key of an issuer, as auth-service does; yield the URL for `AUTH_SERVICE_URL`."""
    keys = {**issuer.key.as_dict(private=False), "kid": issuer.kid, "use": "sig", "alg": "EdDSA"}
    body = json.dumps({"keys": [keys]}).encode()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
