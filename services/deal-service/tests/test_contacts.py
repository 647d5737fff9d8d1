from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from deal_service.domain.deal import MOST_CONTACTS

pytestmark = pytest.mark.anyio


async def test_contacts_of_a_deal_are_added_listed_and_removed(world: Any, acme: str) -> None:
    first, second = world.neighbours.contact(acme), world.neighbours.contact(acme)
    made = await world.deal(acme, contact_ids=[first])
    url, member = f"/api/deals/{made['id']}/contacts", world.bearer(acme)
    asked = {"contact_id": second, "role": "decides"}
    added = await world.http.post(url, json=asked, headers=member)
    again = await world.http.post(url, json=asked, headers=member)
    listed = await world.get(acme, url)
    deal = await world.get(acme, f"/api/deals/{made['id']}")
    gone = await world.http.delete(f"{url}/{first}", headers=member)
    twice = await world.http.delete(f"{url}/{first}", headers=member)
    won = await world.put(acme, made, stage="closed_won")

    assert (added.status_code, added.json()["role"]) == (201, "decides")
    assert (again.status_code, again.json()["code"]) == (409, "CONTACT_ASSOCIATED")
    assert [one["contact_id"] for one in listed["items"]] == [first, second]
    assert (deal["contact_ids"], deal["version"]) == ([first, second], 2)
    assert gone.status_code == 204
    assert (twice.status_code, twice.json()["code"]) == (404, "CONTACT_NOT_ASSOCIATED")
    assert (won.json()["contact_ids"], won.json()["version"]) == ([second], 4)
    assert world.told(acme, "DealClosedWon")[0].contact_ids == [second]


async def test_a_contact_of_another_tenant_is_unknown(world: Any, acme: str, other: str) -> None:
    theirs = world.neighbours.contact(other)
    made = await world.deal(acme)
    url = f"/api/deals/{made['id']}/contacts"
    answers = [
        await world.http.post(url, json={"contact_id": one}, headers=world.bearer(acme))
        for one in (theirs, str(uuid4()))
    ]
    answers += [
        await world.http.post(
            "/api/deals",
            json={"name": "x", "amount_minor": 1, "currency": "EUR", "contact_ids": [one]},
            headers=world.bearer(acme),
        )
        for one in (theirs, str(uuid4()))
    ]

    assert {(one.status_code, one.json()["code"]) for one in answers} == {(422, "CONTACT_UNKNOWN")}
    assert {tenant for tenant, _ in world.neighbours.asked} == {acme}


async def test_a_deal_has_fifty_contacts_at_most(world: Any, acme: str) -> None:
    contacts = [str(UUID(int=n)) for n in range(MOST_CONTACTS)]
    made = await world.deal(acme, contact_ids=contacts)
    answer = await world.http.post(
        f"/api/deals/{made['id']}/contacts",
        json={"contact_id": str(uuid4())},
        headers=world.bearer(acme),
    )

    assert made["contact_ids"] == contacts
    assert (answer.status_code, answer.json()["code"]) == (422, "TOO_MANY_CONTACTS")


@pytest.mark.parametrize(
    ("status", "expected"), [(0, 503), (503, 503), (504, 504), (500, 502), (401, 502), (403, 502)]
)
async def test_a_neighbour_that_fails_is_not_taken_for_an_answer(
    world: Any, acme: str, status: int, expected: int
) -> None:
    world.neighbours.failures = [status] * 6
    asked = {
        "name": "x",
        "amount_minor": 1,
        "currency": "EUR",
        "contact_ids": [str(uuid4()), str(uuid4())],
    }
    key = {"idempotency-key": "k"}
    headers = {**world.bearer(acme), **key}
    failed = await world.http.post("/api/deals", json=asked, headers=headers)
    alone = await world.http.post(
        "/api/deals", json={**asked, "contact_ids": []}, headers=world.bearer(acme)
    )
    world.neighbours.failures = []

    assert failed.status_code == expected, failed.text
    assert alone.status_code == 201
    assert world.rows(acme, "select count(*) from deals") == [(1,)]
    assert len(world.told(acme)) == 1
    if expected == 502:  # the breaker is closed: the key is free for the same request
        again = await world.http.post("/api/deals", json=asked, headers=headers)
        assert again.status_code == 201
