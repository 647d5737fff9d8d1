from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtenant_events import BadMessage, InvalidTenantId, Reason
from mtenant_events.subjects import (
    PARTITIONS,
    Address,
    address_of,
    agrees,
    partition_of,
    subject_of,
    subjects_of,
)

TENANTS = st.from_regex(r"[a-z0-9][a-z0-9_]{0,55}", fullmatch=True)
TYPES = st.from_regex(r"[a-z][a-z0-9_]{0,20}\.[a-z][a-z0-9_]{0,20}", fullmatch=True)


@given(TENANTS, TYPES, st.text())
def test_a_subject_says_whose_and_what(tenant: str, type_: str, key: str) -> None:
    subject = subject_of("crm", tenant, type_, key)

    assert address_of("crm", subject) == Address(tenant, type_, partition_of(key))
    assert agrees("crm", subject, tenant, type_)


def test_the_partitions_of_keys_are_those_of_the_stored_events() -> None:
    # Not to be mended: another number would send a key's next event to another partition.
    assert [partition_of(key) for key in ("", "deal-1", "deal-2", "ä")] == [0, 5, 15, 3]
    assert PARTITIONS == 16


@given(st.text())
def test_any_text_is_an_address_or_a_bad_message(subject: str) -> None:
    for text in (subject, f"crm.evt.{subject}", f"crm.evt.acme.deal.won.{subject}"):
        with suppress(BadMessage):
            address = address_of("crm", text)
            assert agrees("crm", text, address.tenant, address.type)


@pytest.mark.parametrize(
    "subject",
    [
        "crm.evt.acme.deal.won",
        "crm.evt.acme.deal.won.16",
        "crm.evt.acme.deal.won.01",
        "crm.evt.acme.deal.won.1.2",
        "crm.evtx.acme.deal.won.1",
        "other.evt.acme.deal.won.1",
        "crm.evt.acme.Deal.won.1",
        "crm.evt.acme.*.won.1",
    ],
)
def test_another_subject_is_none(subject: str) -> None:
    with pytest.raises(BadMessage) as caught:
        address_of("crm", subject)

    assert caught.value.reason is Reason.SUBJECT_MISMATCH
    assert not agrees("crm", subject, "acme", "deal.won")


@pytest.mark.parametrize("tenant", ["*", ">", "ACME", "", "a-b"])
def test_a_tenant_that_is_none_is_told_apart(tenant: str) -> None:
    with pytest.raises(BadMessage) as caught:
        address_of("crm", f"crm.evt.{tenant}.deal.won.1")

    assert caught.value.reason is Reason.INVALID_TENANT


def test_a_filter_leaves_open_what_is_not_said() -> None:
    assert subjects_of("crm") == "crm.evt.*.*.*.*"
    assert subjects_of("crm", tenant="acme", type_="deal.won", partition="3") == (
        "crm.evt.acme.deal.won.3"
    )


@pytest.mark.parametrize("tenant", ["*.>", ">", "a.b", "acme.>"])
def test_a_filter_of_a_tenant_cannot_be_widened(tenant: str) -> None:
    with pytest.raises(InvalidTenantId):
        subjects_of("crm", tenant=tenant)
