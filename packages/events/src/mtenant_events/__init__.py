"""Typed events on NATS JetStream, for programs with many tenants.

>>> from dataclasses import dataclass
>>> @event_type("deal.closed_won")
... @dataclass(frozen=True)
... class DealClosedWon:
...     deal_id: str
...     amount: int
>>> event = Event(
...     type="deal.closed_won",
...     source="/deal-service",
...     tenant="acme",
...     data=DealClosedWon(deal_id="d7", amount=900),
... )
>>> event.tenant, event.data.amount
('acme', 900)
"""

from mtenant_events.bus import EventBus
from mtenant_events.config import EventsConfig
from mtenant_events.consumer.outcome import Permanent, Retry, Skip
from mtenant_events.context import EventContext, current_context, event_context
from mtenant_events.errors import (
    BadMessage,
    BusClosed,
    EventsUnavailable,
    EventTooLarge,
    PublishRefused,
    PublishUnknown,
    Reason,
    StreamFull,
    StreamUnavailable,
    TenantMismatch,
    TenantRequired,
    TopologyConflict,
)
from mtenant_events.event import Event, Message, PublishResult
from mtenant_events.inbox import Inbox
from mtenant_events.outbox import Outbox
from mtenant_events.registry import Registry, event_type
from mtenant_events.subscriptions import Subscriptions
from mtenant_events.tenant_id import InvalidTenantId

__all__ = [
    "BadMessage",
    "BusClosed",
    "Event",
    "EventBus",
    "EventContext",
    "EventTooLarge",
    "EventsConfig",
    "EventsUnavailable",
    "Inbox",
    "InvalidTenantId",
    "Message",
    "Outbox",
    "Permanent",
    "PublishRefused",
    "PublishResult",
    "PublishUnknown",
    "Reason",
    "Registry",
    "Retry",
    "Skip",
    "StreamFull",
    "StreamUnavailable",
    "Subscriptions",
    "TenantMismatch",
    "TenantRequired",
    "TopologyConflict",
    "current_context",
    "event_context",
    "event_type",
]
