from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

pytestmark = pytest.mark.anyio

NEW = {"name": "Chairs", "amount_minor": 5, "currency": "EUR"}


async def bulk(world: Any, tenant: str, *items: Any, **headers: str) -> Any:
    return await world.http.post(
        "/api/deals/bulk", json={"items": items}, headers={**world.bearer(tenant), **headers}
    )


async def test_each_item_is_done_or_refused_for_itself(
    standing: Any, acme: str, other: str
) -> None:
    one, two = await standing.deal(acme), await standing.deal(acme)
    theirs, absent = await standing.deal(other), str(uuid4())
    answer = await bulk(
        standing,
        acme,
        {"create": NEW},
        {"id": one["id"], "version": 1, "change": {"stage": "closed_won"}},
        {"id": two["id"], "version": 7, "change": {"name": "x"}},
        {"id": two["id"], "change": {"stage": "closed_lost"}},
        {"id": theirs["id"], "change": {"name": "mine"}},
        {"id": absent, "change": {"name": "mine"}},
        {"create": {**NEW, "stage": "closed_won"}},
        {"create": {**NEW, "owner_id": str(uuid4())}},
        {"id": two["id"], "change": {"stage": "proposal", "amount_minor": 6}},
    )

    assert (answer.status_code, answer.json()["status"]) == (200, "partly")
    results = answer.json()["results"]
    said = [(found["status"], found["error"] and found["error"]["code"]) for found in results]
    assert said == [
        (201, None),
        (200, None),
        (412, "VERSION_MISMATCH"),
        (422, "LOST_REASON_REQUIRED"),
        (404, "DEAL_NOT_FOUND"),
        (404, "DEAL_NOT_FOUND"),
        (422, "STAGE_NOT_OPEN"),
        (422, "OWNER_UNKNOWN"),
        (200, None),
    ]
    assert results[1]["deal"]["status"] == "won"
    assert await standing.get(acme, f"/api/deals/{two['id']}") == results[8]["deal"]
    assert len((await standing.get(acme, "/api/deals"))["items"]) == 3
    assert await standing.get(other, f"/api/deals/{theirs['id']}") == theirs
    kinds = [type(event).__name__ for event in standing.told(acme)]
    assert kinds[2:] == ["DealCreated", "DealStageChanged", "DealClosedWon", "DealStageChanged"]


async def test_the_same_bulk_with_one_key_happens_once(standing: Any, acme: str) -> None:
    items = [{"create": {**NEW, "name": f"n{n}"}} for n in range(50)]
    first = await bulk(standing, acme, *items, **{"idempotency-key": "b1"})
    second = await bulk(standing, acme, *items, **{"idempotency-key": "b1"})

    assert first.json()["status"] == "done"
    assert second.json() == first.json()
    assert second.headers["idempotent-replayed"] == "true"
    assert standing.rows(acme, "select count(*) from deals") == [(50,)]
    assert len(standing.told(acme)) == 50


@pytest.mark.parametrize(
    "items",
    [[], [{}], [{"create": NEW}] * 201, [{"create": NEW, "id": str(uuid4()), "change": {}}]],
    ids=["none", "empty", "201", "both"],
)
async def test_a_bulk_that_does_not_fit_the_schema_is_a_bad_request(
    standing: Any, acme: str, items: list[Any]
) -> None:
    answer = await bulk(standing, acme, *items)
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_FAILED")


async def test_a_bulk_of_refusals_says_so(standing: Any, acme: str) -> None:
    answer = await bulk(standing, acme, {"id": str(uuid4()), "change": {}})
    assert (answer.status_code, answer.json()["status"]) == (200, "refused")


async def test_a_neighbour_that_is_away_fails_the_whole_bulk(world: Any, acme: str) -> None:
    world.neighbours.failures = [0] * 3
    answer = await bulk(
        world, acme, {"create": NEW}, {"create": {**NEW, "contact_ids": [str(uuid4())]}}
    )

    assert answer.status_code == 503
    assert world.rows(acme, "select count(*) from deals") == [(0,)]


async def test_a_bulk_asks_for_two_hundred_contacts_at_most(world: Any, acme: str) -> None:
    def items(count: int) -> list[Any]:
        ids = [str(UUID(int=n)) for n in range(count)]
        return [{"create": {**NEW, "contact_ids": ids[n : n + 50]}} for n in range(0, count, 50)]

    most = await bulk(world, acme, *items(200), *items(200))
    asked = len(world.neighbours.asked)
    more = await bulk(world, acme, *items(201))

    assert most.json()["status"] == "done"
    assert asked == len(world.neighbours.asked) == 200
    assert (more.status_code, more.json()["code"]) == (422, "TOO_MANY_CONTACTS")
