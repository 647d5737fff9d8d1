"""Calls to other services: bounded in time, tried again with measure, and stopped when it is no use.

```python
auth = chassis.service("auth-service")
answer = await auth.post("/api/auth/users", json={...}, tenant="acme", idempotency_key=str(job))
user = answer.json()
```

An answer from 400 on is raised as the class that the callee raised (`mtenant_errors.from_problem`), marked
remote: uncaught, our own caller gets a 502 or 503, and `raise exc.as_own()` passes it on as ours.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Protocol, Self

import httpx2 as httpx

from mtenant_chassis.breaker import Breaker, RetryBudget
from mtenant_chassis.edge import inject
from mtenant_errors import AppError, GatewayTimeout, ServiceUnavailable, from_problem
from mtenant_logger import current_request_id

CONNECT: Final = 1.0
"""Seconds for a connection."""

READ: Final = 3.0
"""Seconds without a byte of the answer."""

RETRIES: Final = 2
"""How often a request is sent again that may be: of a safe or idempotent method, or with a key."""

_SAFE_AGAIN: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PUT"})  # RFC 9110, 9.2.2
_FIRST_WAIT: Final = 0.05
_LONGEST_WAIT: Final = 1.0
_CONNECTIONS: Final = 50
_AGAIN: Final = 1  # seconds after which our own caller may ask again
_MOST_TOKENS: Final = 10_000
_EARLY: Final = 30.0  # seconds before its end a token is replaced


class CalleeUnavailable(ServiceUnavailable):
    """The service that this one needs does not answer, or was left alone because it did not."""

    code, message = "CALLEE_UNAVAILABLE", "{callee} is not available now"


class CalleeTimeout(GatewayTimeout):
    """The service that this one needs was too slow; what it did is unknown."""

    code, message = "CALLEE_TIMEOUT", "{callee} did not answer in time"


class TokenSource(Protocol):
    """Where a service gets tokens of its own."""

    async def token(self, audience: str, tenant: str | None) -> str:
        """Return a token for calls to a service.

        Args:
            audience: The callee's name.
            tenant: For which tenant; None for none.
        """
        ...


class ServiceClient:
    """Calls one other service; `async with` it.

    Args:
        name: The callee's name, which its tokens have as their audience.
        url: Its base URL.
        tokens: Where this service's tokens come from; None: calls are made without one, unless they
            bring their own.
        transport: For tests: where requests go instead of the network.
    """

    def __init__(
        self,
        name: str,
        url: str,
        *,
        tokens: TokenSource | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.name = name
        self.breaker = Breaker()
        self._budget = RetryBudget()
        self._tokens = tokens
        self._http = httpx.AsyncClient(
            base_url=url,
            timeout=httpx.Timeout(READ, connect=CONNECT),
            limits=httpx.Limits(
                max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS
            ),
            transport=transport,
            trust_env=False,  # a proxy of the machine's is not between two services
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.__aexit__(exc_type, exc, traceback)

    async def get(self, path: str, **options: Any) -> httpx.Response:
        """Send a GET; see `request`."""
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Any) -> httpx.Response:
        """Send a POST; see `request`."""
        return await self.request("POST", path, **options)

    async def request(
        self,
        method: str,
        path: str,
        *,
        tenant: str | None = None,
        token: str | None = None,
        json: object = None,
        form: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        anonymous: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109 - handed on to the client
    ) -> httpx.Response:
        """Send a request, and return the answer if it is none from 400 on.

        Args:
            method: The HTTP method.
            path: Below the base URL.
            tenant: For which tenant this service acts.
            token: A token to pass on, such as the caller's, instead of one of this service's own.
            json: The body, as a JSON value.
            form: The body, as a form.
            params: The query.
            headers: Further fields.
            idempotency_key: Makes a POST that may be sent again.
            anonymous: Whether to send no token at all.
            timeout: Seconds without a byte, instead of three.

        Raises:
            CalleeUnavailable: No connection, or the breaker is open.
            CalleeTimeout: No answer in time.
            AppError: What the callee answered, marked remote.
        """
        fields = inject(dict(headers or {}))
        if request_id := current_request_id():
            fields["x-request-id"] = request_id
        if idempotency_key is not None:
            fields["idempotency-key"] = idempotency_key
        again = method in _SAFE_AGAIN or idempotency_key is not None
        bearer = token
        if bearer is None and self._tokens is not None and not anonymous:
            bearer = await self._tokens.token(self.name, tenant)
        if bearer is not None:
            fields["authorization"] = f"Bearer {bearer}"
        request = self._http.build_request(
            method,
            path,
            json=json,
            data=form,
            params=params,
            headers=fields,
            timeout=httpx.USE_CLIENT_DEFAULT
            if timeout is None
            else httpx.Timeout(timeout, connect=CONNECT),
        )
        return await self._send(request, RETRIES if again else 0)

    async def _send(self, request: httpx.Request, retries: int) -> httpx.Response:
        self._budget.earn()
        for attempt in range(retries + 1):
            try:
                return await self._send_once(request)
            except AppError as exc:
                wait = _wait(attempt, exc)
                if attempt == retries or not _worth_it(exc) or not self._budget.spend():
                    raise
            await asyncio.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    async def _send_once(self, request: httpx.Request) -> httpx.Response:
        if wait := self.breaker.wait():
            raise CalleeUnavailable(callee=self.name, retry_after=math.ceil(wait))
        try:
            response = await self._http.send(request)
        except httpx.TimeoutException as exc:
            self.breaker.failed()
            error = CalleeTimeout if _was_sent(exc) else CalleeUnavailable
            raise error(callee=self.name, retry_after=_AGAIN, internal=_about(exc)) from exc
        except httpx.HTTPError as exc:
            self.breaker.failed()
            raise CalleeUnavailable(
                callee=self.name, retry_after=_AGAIN, internal=_about(exc)
            ) from exc
        outage = self._outage(response)
        if outage is not None:
            self.breaker.failed()
            raise outage
        self.breaker.succeeded()
        if response.status_code >= 400:
            raise _problem(response)
        return response

    def _outage(self, response: httpx.Response) -> AppError | None:
        """Return the error of an answer that says that the callee is not there."""
        if response.status_code not in {502, 503, 504}:
            return None
        kind = response.headers.get("content-type", "")
        if kind.partition(";")[0].strip().lower() == "application/problem+json":
            # A 502 of its own is about somebody whom it called: it is there itself.
            return None if response.status_code == 502 else _problem(response)
        # Something in between answers for it.
        error = CalleeTimeout if response.status_code == 504 else CalleeUnavailable
        return error(
            callee=self.name,
            retry_after=_AGAIN,
            internal=f"a gateway answers {response.status_code}",
        )


def _problem(response: httpx.Response) -> AppError:
    return from_problem(response.content, response.status_code, response.headers)


def _was_sent(exc: httpx.TimeoutException) -> bool:
    return not isinstance(exc, httpx.ConnectTimeout | httpx.PoolTimeout)


def _about(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}"


def _worth_it(exc: AppError) -> bool:
    # A timeout may have had its effect; whoever may be sent again does not mind.
    return isinstance(exc, CalleeTimeout) or (exc.retryable and exc.status_code in {502, 503, 504})


def _wait(attempt: int, exc: AppError) -> float:
    longest = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0**attempt)
    wait = random.uniform(0, longest)  # noqa: S311 - no secret
    asked = exc.retry_after if exc.remote else None  # an error of our own has what we tell callers
    return max(wait, min(asked or 0, _LONGEST_WAIT))


class ClientCredentials:
    """Gets this service's tokens from auth-service (RFC 6749, 4.4), and keeps them until they end.

    It posts `grant_type=client_credentials`, `audience` and `tenant` to `/api/auth/token`, with the
    service's name and secret by HTTP Basic, and reads `access_token` and `expires_in`.

    Args:
        auth: The client of auth-service, without tokens of its own.
        service: This service's name.
        secret: Its secret.
        clock: Gives seconds that only go forward.
    """

    def __init__(
        self,
        auth: ServiceClient,
        service: str,
        secret: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._auth = auth
        credentials = b64encode(f"{service}:{secret}".encode()).decode()
        self._basic = {"authorization": f"Basic {credentials}"}  # RFC 7617
        self._clock = clock
        self._kept: dict[tuple[str, str | None], tuple[float, str]] = {}
        self._asking: dict[tuple[str, str | None], asyncio.Task[str]] = {}

    async def token(self, audience: str, tenant: str | None) -> str:
        """Return a token for calls to a service. Those who want the same one at once ask once."""
        which = audience, tenant
        end, kept = self._kept.get(which, (0.0, ""))
        if self._clock() < end - _EARLY:
            return kept
        if which not in self._asking:
            task = self._asking[which] = asyncio.create_task(self._ask(audience, tenant))
            task.add_done_callback(lambda task: self._asked(which, task))
        # Whoever waits may be cancelled; the token is for the others too.
        return await asyncio.shield(self._asking[which])

    def _asked(self, which: tuple[str, str | None], task: asyncio.Task[str]) -> None:
        del self._asking[which]
        if not task.cancelled():
            task.exception()  # seen, even if everybody who waited is gone

    async def _ask(self, audience: str, tenant: str | None) -> str:
        form = {"grant_type": "client_credentials", "audience": audience}
        if tenant is not None:
            form["tenant"] = tenant
        asked = self._clock()
        answer = await self._auth.post("/api/auth/token", form=form, headers=self._basic)
        said = answer.json()
        token: str = said["access_token"]
        while len(self._kept) >= _MOST_TOKENS:
            del self._kept[next(iter(self._kept))]
        self._kept[audience, tenant] = asked + float(said["expires_in"]), token
        return token
