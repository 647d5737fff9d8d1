"""What an event is made in: whose request it is, who asked, what has led to it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, fields
from types import TracebackType
from typing import Any, Final

from mtenant_events.errors import TenantMismatch, TenantRequired
from mtenant_events.event import Event
from mtenant_events.registry import type_of
from mtenant_events.tenant_id import check_tenant_id


@dataclass(frozen=True, slots=True)
class EventContext:
    """What events take over that are made here; see the attributes of `Event`."""

    tenant: str | None = None
    actor: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None


_NOTHING: Final = EventContext()
_NAMES: Final = frozenset(field.name for field in fields(EventContext))
_current: ContextVar[EventContext] = ContextVar("mtenant_events.context", default=_NOTHING)


def current_context() -> EventContext:
    """Return what events take over that are made now."""
    return _current.get()


class event_context:  # a class, since each request enters one: a generator costs twice as much
    """Say what the events take over that are made inside; the rest stays as it is outside.

    Args:
        **known: `tenant`, `actor`, `correlation_id`, `causation_id`.

    Raises:
        TypeError: There is no such name.
        InvalidTenantId: The tenant breaks its grammar.

    >>> with event_context(tenant="acme", actor="user-7"):
    ...     with event_context(correlation_id="request-1") as inside:
    ...         inside.actor
    'user-7'
    """

    __slots__ = ("_known", "_token")

    def __init__(self, **known: str | None) -> None:
        if not known.keys() <= _NAMES:
            raise TypeError(f"event_context() takes {', '.join(sorted(_NAMES))}, not {list(known)}")
        if known.get("tenant") is not None:
            check_tenant_id(known["tenant"])
        self._known = known

    def __enter__(self) -> EventContext:
        """Enter the context."""
        outer, known = _current.get(), self._known
        # Written out: `dataclasses.replace` takes several times as long.
        context = EventContext(
            tenant=known.get("tenant", outer.tenant),
            actor=known.get("actor", outer.actor),
            correlation_id=known.get("correlation_id", outer.correlation_id),
            causation_id=known.get("causation_id", outer.causation_id),
        )
        self._token = _current.set(context)
        return context

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave it."""
        _current.reset(self._token)


class caused_by:
    """Says that the events made in its block are of the tenant of an event, and were led to by it.

    Args:
        event: The one that is handled.
    """

    __slots__ = ("_context", "_token")

    def __init__(self, event: Event[Any]) -> None:
        self._context = EventContext(
            event.tenant, event.actor, event.correlation_id or event.id, event.id
        )

    def __enter__(self) -> EventContext:
        """Enter the context."""
        self._token = _current.set(self._context)
        return self._context

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave it."""
        _current.reset(self._token)


def event_of(given: Any, *, source: str, tenant: str | None = None) -> Event[Any]:
    """Return an event: the one given, or one made of a payload and the context.

    Args:
        given: An `Event`, or a payload of a class with a name.
        source: The source of what is made.
        tenant: Of the transaction that it is added to; by default the context's.

    Raises:
        TenantRequired: Neither the transaction nor the context has a tenant.
        TenantMismatch: The event is of another tenant than the transaction or the context.
        TypeError: It is neither an event nor a payload of a class with a name.
    """
    context = _current.get()
    if tenant is not None and context.tenant is not None and tenant != context.tenant:
        raise TenantMismatch(
            internal=f"a transaction of {tenant} in what is done for {context.tenant}"
        )
    tenant = tenant if tenant is not None else context.tenant
    if isinstance(given, Event):
        if tenant is not None and given.tenant != tenant:
            raise TenantMismatch(
                internal=f"an event of {given.tenant} in what is done for {tenant}"
            )
        return given
    name = type_of(type(given))
    if tenant is None:
        raise TenantRequired(
            internal=f"{name} of no tenant: publish an Event that names its tenant, or use"
            " `with event_context(tenant=...)`"
        )
    return Event(
        type=name,
        source=source,
        tenant=tenant,
        data=given,
        actor=context.actor,
        correlation_id=context.correlation_id,
        causation_id=context.causation_id,
    )
