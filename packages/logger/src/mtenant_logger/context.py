"""What every line says about the request that it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from functools import wraps
from types import TracebackType
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Scope:
    """The fields of one `log_context`, with those of the ones around it.

    Attributes:
        identity: what may be set here and nowhere else, in the order of the line: `service`,
            `request_id`, `tenant_id`, `trace_id`, `span_id`.
        tags: other fields.
        prepared: what a `Lines` keeps here; it knows by its own mark whether it is still good.
    """

    __slots__ = ("identity", "prepared", "tags")

    def __init__(self, identity: Mapping[str, object], tags: Mapping[str, object]) -> None:
        self.identity = identity
        self.tags = tags
        self.prepared: Any = None


SCOPE: Final[ContextVar[Scope]] = ContextVar("mtenant_logger.scope", default=Scope({}, {}))  # noqa: B039  # a Scope is never changed, but for its cache


class log_context:  # it is called like a function, as contextlib's are
    """Add fields to every line that is logged inside the `with` block, in this task or thread.

    An inner block adds to the outer one and wins where both name a field; tasks started inside
    inherit the fields, threads do by `wrap_context`. Not given, or None, means unchanged.

    Args:
        service: another service's name, where one process hosts several applications.
        request_id: the request's id.
        tenant_id: the tenant on whose behalf this runs. A tag cannot set it: one that is called
            `tenant_id` is written as `tag_tenant_id`, so that no line lies about its tenant.
        trace_id: 32 hex digits, used while OpenTelemetry has no span of its own.
        span_id: 16 hex digits, likewise.
        tags: any further fields, such as `user_id`.
    """

    def __init__(
        self,
        /,
        *,
        service: str | None = None,
        request_id: str | None = None,
        tenant_id: str | None = None,
        trace_id: str | None = None,
        span_id: str | None = None,
        **tags: object,
    ) -> None:
        # Written out: a request enters several of these.
        identity: dict[str, object] = {}
        if service is not None:
            identity["service"] = service
        if request_id is not None:
            identity["request_id"] = request_id
        if tenant_id is not None:
            identity["tenant_id"] = tenant_id
        if trace_id is not None:
            identity["trace_id"] = trace_id
        if span_id is not None:
            identity["span_id"] = span_id
        self._identity = identity
        self._tags = tags
        self._tokens: list[Token[Scope]] = []

    def __enter__(self) -> None:
        outer, tags = SCOPE.get(), self._tags
        scope = Scope(
            {**outer.identity, **self._identity}, {**outer.tags, **tags} if tags else outer.tags
        )
        self._tokens.append(SCOPE.set(scope))

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A ValueError: a generator was begun in one context and closed in another, as frameworks do
        # with dependencies in threads. The fields ended with the context that had them.
        try:  # noqa: SIM105  # `suppress` is an object and two calls, each time
            SCOPE.reset(self._tokens.pop())
        except ValueError:
            pass


def current_request_id() -> str | None:
    """Return the request id of the `log_context` around this call, or None outside of one."""
    request_id = SCOPE.get().identity.get("request_id")
    return None if request_id is None else str(request_id)


def wrap_context(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function that runs with the log context of now, in whatever thread it is called.

    For `Thread(target=...)` and `executor.submit(...)`, which start with an empty context. It may
    be called any number of times, also at once.
    """
    scope = SCOPE.get()

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        token = SCOPE.set(scope)
        try:
            return function(*args, **kwargs)
        finally:
            SCOPE.reset(token)

    return run
