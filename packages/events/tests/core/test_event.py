from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtenant_events import BadMessage, Event, InvalidTenantId, Reason, Registry
from mtenant_events.tenant_id import check_tenant_id
from mtenant_events.uuid7 import uuid7

Make = Callable[..., Event[Any]]


def test_an_event_cannot_be_changed(make_event: Make) -> None:
    with pytest.raises(FrozenInstanceError):
        make_event().tenant = "globex"  # type: ignore[misc]


def test_ids_are_uuids_of_version_7_that_sort_by_time() -> None:
    ids = [uuid7() for _ in range(1000)]

    assert {uuid.UUID(id_).version for id_ in ids} == {7}
    assert {uuid.UUID(id_).variant for id_ in ids} == {uuid.RFC_4122}
    assert len(set(ids)) == 1000
    assert all(first[:18] <= second[:18] for first, second in pairwise(ids))


def test_an_id_says_when_it_was_made() -> None:
    before = datetime.now(UTC).timestamp() * 1000
    milliseconds = int(uuid7().replace("-", "")[:12], 16)

    assert before - 1 <= milliseconds <= datetime.now(UTC).timestamp() * 1000


@pytest.mark.parametrize(
    "tenant",
    ["", "Acme", "a-b", "a.b", "*", ">", "_x", "a" * 57, "acme\n", "ácme", "a b", None, 7, b"acme"],
)
def test_a_text_that_is_no_tenant_id_makes_no_event(make_event: Make, tenant: object) -> None:
    with pytest.raises(InvalidTenantId):
        make_event(tenant=tenant)


@given(st.from_regex(r"[a-z0-9][a-z0-9_]{0,55}", fullmatch=True))
def test_what_fits_the_grammar_is_a_tenant_id(tenant: str) -> None:
    assert check_tenant_id(tenant) is tenant


@pytest.mark.parametrize(
    "name",
    ["", "deal", "deal.", ".won", "deal.closed.won", "Deal.won", "deal.*", "deal.>", "deal. won"],
)
def test_a_type_is_an_entity_and_what_happened_to_it(make_event: Make, name: str) -> None:
    with pytest.raises(ValueError, match="no event type"):
        make_event(type=name)


@pytest.mark.parametrize("name", ["id", "source", "actor", "subject", "correlation_id"])
@pytest.mark.parametrize("value", ["", "a\nb", "a\x00b", "\ud800", "\ufffe", "x" * 513, 7])
def test_a_text_without_control_characters_is_asked_for(
    make_event: Make, name: str, value: object
) -> None:
    with pytest.raises(ValueError, match=name):
        make_event(**{name: value})


def test_a_time_without_a_zone_is_refused(make_event: Make) -> None:
    with pytest.raises(ValueError, match="time zone"):
        make_event(timestamp=datetime(2026, 1, 1))
    with pytest.raises(TypeError, match="datetime"):
        make_event(timestamp="2026-01-01T00:00:00Z")


def test_a_time_of_another_zone_is_kept_in_utc(make_event: Make) -> None:
    there = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    event = make_event(timestamp=there)

    assert event.timestamp == there
    assert event.timestamp.tzinfo is UTC


def test_a_time_that_no_year_has_in_utc_is_refused(make_event: Make) -> None:
    with pytest.raises(ValueError, match="years"):
        make_event(timestamp=datetime.min.replace(tzinfo=timezone(timedelta(hours=14))))


def test_a_dict_has_both_names_of_the_tenant_and_becomes_the_event_again(make_event: Make) -> None:
    event = make_event(actor="user-7", subject="d7", correlation_id="c", causation_id="e")
    members = event.to_dict()

    assert members["tenant_id"] == members["organization_id"] == "acme"
    assert members["timestamp"].endswith("Z")
    assert set(members) == {
        *("id", "type", "source", "tenant_id", "organization_id", "timestamp", "data"),
        *("actor", "subject", "correlation_id", "causation_id"),
    }
    assert Event.from_dict(members, Registry([type(event.data)])) == event


@pytest.mark.parametrize("name", ["tenant_id", "organization_id"])
def test_one_name_of_the_tenant_is_enough(make_event: Make, name: str) -> None:
    members = make_event().to_dict()
    del members[name]

    assert Event.from_dict(members).tenant == "acme"


def test_two_names_of_two_tenants_are_no_event(make_event: Make) -> None:
    with pytest.raises(BadMessage) as caught:
        Event.from_dict({**make_event().to_dict(), "organization_id": "globex"})

    assert caught.value.reason is Reason.TENANT_MISMATCH


@pytest.mark.parametrize("name", ["id", "type", "source", "timestamp"])
def test_a_dict_without_an_attribute_is_no_event(make_event: Make, name: str) -> None:
    members = make_event().to_dict()
    del members[name]

    with pytest.raises(BadMessage) as caught:
        Event.from_dict(members)

    assert caught.value.reason is Reason.MISSING_ATTRIBUTE


def test_a_class_that_is_not_known_leaves_the_data_as_it_is(make_event: Make) -> None:
    assert Event.from_dict(make_event().to_dict()).data == {"deal_id": "d7", "amount": 900}


@pytest.mark.parametrize("members", [[], "text", None, 7])
def test_what_is_no_mapping_is_no_event(members: Any) -> None:
    with pytest.raises(BadMessage):
        Event.from_dict(members)
