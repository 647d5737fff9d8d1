from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from mtenant_events import (
    Event,
    InvalidTenantId,
    TenantMismatch,
    TenantRequired,
    current_context,
    event_context,
    event_type,
)
from mtenant_events.context import caused_by, event_of

Make = Callable[..., Event[Any]]


@event_type("user.login")
@dataclass
class UserLogin:
    user: str


def test_a_payload_takes_over_what_the_context_knows() -> None:
    with event_context(tenant="acme", actor="user-7", correlation_id="request-1"):
        event = event_of(UserLogin("user-7"), source="/auth")

    assert (event.type, event.source, event.tenant) == ("user.login", "/auth", "acme")
    assert (event.actor, event.correlation_id, event.causation_id) == ("user-7", "request-1", None)


def test_the_transaction_says_whose_a_payload_is() -> None:
    assert event_of(UserLogin("u"), source="/auth", tenant="acme").tenant == "acme"


def test_an_event_is_taken_as_it_is(make_event: Make) -> None:
    event = make_event()

    with event_context(actor="somebody else"):
        assert event_of(event, source="/auth") is event


def test_a_payload_without_a_tenant_is_refused() -> None:
    with pytest.raises(TenantRequired):
        event_of(UserLogin("u"), source="/auth")


def test_an_event_of_another_tenant_is_refused(make_event: Make) -> None:
    with event_context(tenant="globex"), pytest.raises(TenantMismatch):
        event_of(make_event(), source="/auth")
    with pytest.raises(TenantMismatch):
        event_of(make_event(), source="/auth", tenant="globex")
    with event_context(tenant="globex"), pytest.raises(TenantMismatch):
        event_of(UserLogin("u"), source="/auth", tenant="acme")


def test_what_is_neither_event_nor_payload_is_refused() -> None:
    for given in ({"user": "u"}, None, "text", UserLogin):
        with event_context(tenant="acme"), pytest.raises(TypeError, match="event type"):
            event_of(given, source="/auth")


def test_an_inner_context_keeps_what_it_does_not_say_and_ends() -> None:
    with event_context(tenant="acme", actor="user-7"):
        with event_context(actor="user-8") as inside:
            assert (inside.tenant, inside.actor) == ("acme", "user-8")
            assert current_context() is inside
        assert current_context().actor == "user-7"
    assert current_context().tenant is None


def test_a_context_has_no_tenant_that_is_none() -> None:
    with pytest.raises(InvalidTenantId), event_context(tenant="*"):
        pass
    with pytest.raises(TypeError), event_context(tennant="acme"):
        pass


def test_what_an_event_leads_to_says_so(make_event: Make) -> None:
    first = make_event(actor="user-7")
    with event_context(tenant="globex"), caused_by(first):
        second = event_of(UserLogin("u"), source="/auth")
    with caused_by(second):
        third = event_of(UserLogin("u"), source="/auth")

    assert (second.tenant, second.actor) == ("acme", "user-7")
    assert (second.correlation_id, second.causation_id) == (first.id, first.id)
    assert (third.correlation_id, third.causation_id) == (first.id, second.id)
