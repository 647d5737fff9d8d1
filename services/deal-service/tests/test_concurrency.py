"""Many at a time: no update is lost, no deal is made twice, no history has a gap."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

pytestmark = pytest.mark.anyio

WRITERS = 20


async def test_no_update_of_twenty_writers_is_lost(standing: Any, acme: str) -> None:
    made = await standing.deal(acme, amount_minor=0)
    url = f"/api/deals/{made['id']}"
    refused = 0

    async def add_one() -> None:
        nonlocal refused
        while True:
            read = await standing.http.get(url, headers=standing.bearer(acme))
            answer = await standing.put(
                acme,
                made,
                amount_minor=read.json()["amount_minor"] + 1,
                headers={"if-match": read.headers["etag"]},
            )
            if answer.status_code == 200:
                return
            assert (answer.status_code, answer.json()["code"]) == (412, "VERSION_MISMATCH")
            refused += 1

    await asyncio.gather(*(add_one() for _ in range(WRITERS)))

    after = await standing.get(acme, url)
    assert (after["amount_minor"], after["version"]) == (WRITERS, WRITERS + 1)
    assert refused  # they did meet


async def test_twenty_moves_at_a_time_leave_a_history_without_a_gap(
    standing: Any, acme: str
) -> None:
    made = await standing.deal(acme)
    stages = ("proposal", "closed_won", "qualification", "negotiation")
    answers = await asyncio.gather(
        *(standing.put(acme, made, stage=stages[n % 4]) for n in range(WRITERS))
    )
    visits = (await standing.get(acme, f"/api/deals/{made['id']}/history"))["items"]
    deal = await standing.get(acme, f"/api/deals/{made['id']}")

    assert {one.status_code for one in answers} == {200}
    assert all(one["left_at"] == two["entered_at"] for one, two in pairwise(visits))
    assert all(one["stage"] != two["stage"] for one, two in pairwise(visits))
    assert (visits[-1]["left_at"], visits[-1]["stage"]) == (None, deal["stage"])
    moves = standing.told(acme, "DealStageChanged")
    assert [one.to_stage for one in moves] == [one["stage"] for one in visits[1:]]
    assert deal["version"] == len(visits)
    wins = sum(one["stage"] == "closed_won" for one in visits)
    assert len(standing.told(acme, "DealClosedWon")) == wins


async def test_twenty_equal_posts_with_one_key_make_one_deal_and_one_event(
    standing: Any, acme: str
) -> None:
    asked = {"name": "Chairs", "amount_minor": 5, "currency": "EUR"}
    headers = {**standing.bearer(acme), "idempotency-key": "one-key"}

    async def post() -> Any:
        while True:
            answer = await standing.http.post("/api/deals", json=asked, headers=headers)
            if answer.status_code == 201:
                return answer
            assert (answer.status_code, answer.json()["code"]) == (409, "REQUEST_IN_PROGRESS")

    answers = await asyncio.gather(*(post() for _ in range(WRITERS)))

    assert len({one.content for one in answers}) == 1
    assert sum("idempotent-replayed" not in one.headers for one in answers) == 1
    assert standing.rows(acme, "select count(*) from deals") == [(1,)]
    assert standing.rows(acme, "select count(*) from deal_visits") == [(1,)]
    assert len(standing.told(acme)) == 1
    other = await standing.http.post(
        "/api/deals", json={**asked, "amount_minor": 6}, headers=headers
    )
    assert (other.status_code, other.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")


async def test_bulks_that_want_the_same_deals_in_other_orders_do_not_wait_for_ever(
    standing: Any, acme: str
) -> None:
    made = [await standing.deal(acme) for _ in range(4)]
    orders = [made, made[::-1], made[2:] + made[:2], made[1::2] + made[::2]]

    async def change(n: int) -> Any:
        items = [{"id": one["id"], "change": {"name": f"n{n}"}} for one in orders[n % 4]]
        return await standing.http.post(
            "/api/deals/bulk", json={"items": items}, headers=standing.bearer(acme)
        )

    answers = await asyncio.gather(*(change(n) for n in range(12)))
    assert [one.json().get("status") for one in answers] == ["done"] * 12


async def test_a_stage_goes_or_a_deal_comes_but_not_both(standing: Any, acme: str) -> None:
    stages = [
        {"key": "first", "name": "First", "probability": 20},
        {"key": "second", "name": "Second", "probability": 60},
        {"key": "yes", "name": "Yes", "outcome": "won"},
        {"key": "no", "name": "No", "outcome": "lost"},
    ]
    admin = standing.bearer(acme, "admin")
    seen = set()
    for n in range(6):
        pipeline = (
            await standing.http.post(
                "/api/pipelines", json={"name": f"P{n}", "stages": stages}, headers=admin
            )
        ).json()
        made = await standing.deal(acme, pipeline_id=pipeline["id"])
        url = f"/api/pipelines/{pipeline['id']}/stages/{pipeline['stages'][1]['id']}"
        moved, gone = await asyncio.gather(
            standing.put(acme, made, stage="second"), standing.http.delete(url, headers=admin)
        )
        seen.add((moved.status_code, gone.status_code))
        after = await standing.get(acme, f"/api/deals/{made['id']}")
        assert after["stage"] == ("second" if moved.status_code == 200 else "first")

    assert seen <= {(200, 422), (422, 200)}


async def test_of_many_pipelines_that_become_the_default_one_does(standing: Any, acme: str) -> None:
    stages = [
        {"key": "a", "name": "A", "probability": 20},
        {"key": "b", "name": "B", "outcome": "won"},
        {"key": "c", "name": "C", "outcome": "lost"},
    ]
    admin = standing.bearer(acme, "admin")

    async def make(n: int) -> Any:
        asked = {"name": f"P{n}", "stages": stages, "is_default": n % 2 == 0}
        return await standing.http.post("/api/pipelines", json=asked, headers=admin)

    made = await asyncio.gather(*(make(n) for n in range(8)))
    there = [one.json()["id"] for one in made if one.status_code == 201]
    changed = await asyncio.gather(
        *(
            standing.http.patch(f"/api/pipelines/{one}", json={"is_default": True}, headers=admin)
            for one in there
        )
    )
    found = (await standing.get(acme, "/api/pipelines"))["items"]

    assert {one.status_code for one in (*made, *changed)} <= {200, 201, 409}
    assert sum(one["is_default"] for one in found) == 1
    assert len(found) == 1 + len(there)


async def test_two_tenants_at_a_time_see_their_own_deals_only(
    standing: Any, acme: str, other: str
) -> None:
    mine: dict[str, set[str]] = {acme: set(), other: set()}

    async def work(tenant: str, n: int) -> None:
        made = await standing.deal(tenant, name=f"{tenant} {n}")
        mine[tenant].add(made["id"])
        answer = await standing.put(tenant, made, stage="closed_won")
        assert answer.json()["name"] == f"{tenant} {n}"
        listed = await standing.get(tenant, "/api/deals", limit=200)
        assert {one["name"].split()[0] for one in listed["items"]} == {tenant}

    await asyncio.gather(*(work(tenant, n) for n in range(25) for tenant in (acme, other)))

    for tenant, ids in mine.items():
        listed = await standing.get(tenant, "/api/deals", limit=200)
        assert {one["id"] for one in listed["items"]} == ids
        (group,) = (await standing.get(tenant, "/api/deals/forecast"))["items"]
        assert (group["won_deals"], group["won_minor"]) == (25, 25 * 1_250_000)
        board = await standing.get(tenant, f"/api/pipelines/{made_in(listed)}/board", each=100)
        assert sum(len(one["deals"]) for one in board["columns"]) == 25


def made_in(listed: Any) -> str:
    """Return the pipeline of the deals of a list."""
    (found,) = {one["pipeline_id"] for one in listed["items"]}
    return str(found)


async def test_a_request_that_is_broken_off_leaves_all_of_it_or_nothing(
    standing: Any, acme: str
) -> None:
    """Whoever goes away, at any of the steps of a move, leaves no half of it."""
    made = [await standing.deal(acme) for _ in range(24)]
    tasks = []
    for n, deal in enumerate(made):
        task = asyncio.create_task(standing.put(acme, deal, stage="proposal"))
        tasks.append(task)
        for _ in range(n * 2):  # further into the request each time
            await asyncio.sleep(0)
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    after = [await standing.get(acme, f"/api/deals/{deal['id']}") for deal in made]

    assert any(isinstance(one, asyncio.CancelledError) for one in ends)
    for deal in after:
        visits = (await standing.get(acme, f"/api/deals/{deal['id']}/history"))["items"]
        moved = deal["stage"] == "proposal"
        assert [one["stage"] for one in visits] == ["prospecting", "proposal"][: 1 + moved]
        assert deal["version"] == 1 + moved
        again = await standing.put(acme, deal, stage="negotiation")
        assert again.status_code == 200
    trail = standing.rows(acme, "select count(*) from audit_entries where action = 'deal.moved'")
    assert trail == [(24 + sum(deal["stage"] == "proposal" for deal in after),)]
