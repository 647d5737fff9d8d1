"""Apps of one process that call each other."""

from __future__ import annotations

from collections.abc import Mapping

import httpx2 as httpx
from fastapi import FastAPI


class Network(httpx.AsyncBaseTransport):
    """Leads calls to apps of this process: `create_app(..., transport=Network({"auth": auth_app}))`.

    Args:
        apps: By the host of their URLs: `AUTH_SERVICE_URL` is `http://auth` here. Who is not among them
            cannot be reached.

    Attributes:
        requests: What was sent, in its order.
    """

    def __init__(self, apps: Mapping[str, FastAPI]) -> None:
        self._apps = {
            name: httpx.ASGITransport(app=app, raise_app_exceptions=False)
            for name, app in apps.items()
        }
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Hand a request over."""
        self.requests.append(request)
        app = self._apps.get(request.url.host)
        if app is None:
            raise httpx.ConnectError(f"there is no app at {request.url.host}")
        return await app.handle_async_request(request)
