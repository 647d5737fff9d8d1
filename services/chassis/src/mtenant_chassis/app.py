"""create_app: the one call that makes a service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx2 as httpx
from fastapi import FastAPI, Request
from opentelemetry import trace

from mtenant_chassis import openapi, problems
from mtenant_chassis.auth.keys import KeySource, RemoteKeys
from mtenant_chassis.auth.middleware import Authenticate, AuthenticationMiddleware
from mtenant_chassis.auth.token import InvalidToken
from mtenant_chassis.auth.validation import LocalValidation, RemoteValidation
from mtenant_chassis.body_limit import BodyLimitMiddleware
from mtenant_chassis.chassis import Chassis, Parts, chassis_of
from mtenant_chassis.edge import EdgeMiddleware
from mtenant_chassis.events import EventsOf
from mtenant_chassis.health import health_router
from mtenant_chassis.mail.transport import Transport
from mtenant_chassis.mail.worker import MailOutcome
from mtenant_chassis.parameters import given
from mtenant_chassis.route import Router
from mtenant_chassis.route_index import RouteIndex
from mtenant_chassis.settings import Settings
from mtenant_chassis.tenancy import tenant_name
from mtenant_database import Transaction
from mtenant_database.asgi import TenantMiddleware
from mtenant_errors import Unauthorized
from mtenant_errors.asgi import ErrorMiddleware
from mtenant_logger.asgi import AccessLogMiddleware


class App(FastAPI):
    """FastAPI's app, whose OpenAPI document declares problems and tokens."""

    def openapi(self) -> dict[str, Any]:
        """Return the document, OpenAPI 3.1."""
        return openapi.complete(super().openapi())


def create_app(
    settings: Settings,
    *,
    routers: Iterable[Router],
    title: str | None = None,
    description: str = "",
    migrations: Path | None = None,
    needs: Mapping[str, int] | None = None,
    keys: KeySource | None = None,
    events: EventsOf | None = None,
    startup: Callable[[Chassis], AbstractAsyncContextManager[object]] | None = None,
    mail: Transport | None = None,
    mailed: Callable[[Chassis, Transaction, MailOutcome], Awaitable[None]] | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    tracer_provider: trace.TracerProvider | None = None,
) -> App:
    """Make an app: everything that services have in common, around the routes of this one.

    Nothing is opened here; the app's lifespan does it. Any number of apps may live in a process.

    Args:
        settings: What it is made from.
        routers: The service's routes, with their whole paths.
        title: For people; the service's name by default.
        description: For people, in Markdown.
        migrations: The service's folder of migrations, run on start if `DB_AUTO_MIGRATE` is on.
        needs: The version of each component that the service is written for, as `{"contact": 7}`.
        keys: Whose signatures are believed; by default those that auth-service publishes.
        events: Opens what carries events.
        startup: Opens what else the service needs, given the chassis; last of all.
        mail: Where mails go, instead of what the settings say.
        mailed: Told of each mail of this service that was sent or given up, once, in the transaction of
            its tenant that notes it.
        transport: Where calls to other services go, instead of the network; for tests.
        tracer_provider: OpenTelemetry's global one by default.

    Raises:
        TypeError: A route does not say who may call it.
    """
    parts = Parts(
        migrations=migrations,
        needs=None if needs is None else dict(needs),
        events=events,
        startup=startup,
        mail=mail,
        mailed=mailed,
        transport=transport,
    )
    chassis = Chassis(settings, parts)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with chassis:
            yield

    app = App(
        title=title or settings.service,
        description=description,
        version=settings.version,
        lifespan=lifespan,
        redirect_slashes=False,  # a path that is not there is 404, with a slash as without
        telemetry={"tracing": False, "metrics": False, "logs": False},  # EdgeMiddleware does it
        docs_url="/docs" if settings.is_development else None,
        redoc_url=None,
    )
    app.state.chassis = chassis
    problems.install(app)
    app.state.own_routes = []
    for router in (health_router(), *routers):
        if not isinstance(router, Router):
            raise TypeError(
                "a service's routers are mtenant_chassis.Router: theirs say who may call"
            )
        app.state.own_routes += router.routes
    # Not include_router: an included router is searched twice for every request.
    app.router.routes[:0] = [RouteIndex(app.state.own_routes), *app.state.own_routes]
    paths = {route.path for route in app.state.own_routes}
    app.state.literal_paths = {path for path in paths if "{" not in path}
    # The last one that is added is the outermost.
    app.add_middleware(TenantMiddleware, database=chassis, resolve=tenant_name)
    app.add_middleware(AuthenticationMiddleware, authenticate=_authenticate(chassis, keys))
    app.add_middleware(ErrorMiddleware)
    app.add_middleware(BodyLimitMiddleware, size=int(settings.max_body))
    app.add_middleware(AccessLogMiddleware)
    app.add_middleware(
        EdgeMiddleware,
        service=settings.service,
        metrics=chassis.metrics,
        tracer_provider=tracer_provider,
    )
    return app


def _authenticate(chassis: Chassis, keys: KeySource | None) -> Authenticate:
    auth = chassis.settings.auth
    audiences = (auth.audience, chassis.settings.service)
    if keys is not None or auth.validation == "local":
        source = keys or RemoteKeys(lambda: _fetch_keys(chassis))
        return LocalValidation(source, issuer=auth.issuer, audiences=audiences)
    return RemoteValidation(
        lambda token: _ask(chassis, token), issuer=auth.issuer, audiences=audiences
    )


async def _fetch_keys(chassis: Chassis) -> Mapping[str, Any]:
    # Without a token: the key set is public, and getting a token may need it.
    answer = await chassis.service("auth-service").get("/.well-known/jwks.json", anonymous=True)
    document: Mapping[str, Any] = answer.json()
    return document


async def _ask(chassis: Chassis, token: str) -> Mapping[str, Any]:
    try:
        answer = await chassis.service("auth-service").get("/api/auth/validate-token", token=token)
    except Unauthorized as exc:
        raise InvalidToken(internal=f"auth-service says so: {exc.code}") from exc
    claims: Mapping[str, Any] = answer.json()
    return claims


async def _chassis(request: Request) -> Chassis:
    return chassis_of(request.app)


CurrentChassis = Annotated[Chassis, given(_chassis)]
"""The app's parts, as a parameter of a route."""
