"""The numbers of a period against a plain computation over the deals themselves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest

from deal_service.domain.analytics import AGES

pytestmark = pytest.mark.anyio

NOW = datetime.now(UTC)


def backdate(world: Any, tenant: str, deal: str, created: int, closed: int | None) -> None:
    """Let a deal begin, and be closed, some days ago."""
    world.rows(
        tenant,
        "update deals set created_at = now() - make_interval(days => %s), closed_at = case when"
        " closed_at is not null then now() - make_interval(days => %s) end where id = %s",
        created,
        closed or 0,
        deal,
    )


async def test_win_rate_velocity_and_ageing_are_those_of_the_deals(
    standing: Any, acme: str
) -> None:
    # Amount, currency, stage, days since its beginning, days since its end.
    plan: list[tuple[int, str, str, int, int | None]] = [
        (1000, "EUR", "closed_won", 40, 10),
        (2001, "EUR", "closed_won", 30, 20),
        (500, "EUR", "closed_lost", 50, 5),
        (900, "EUR", "closed_won", 300, 200),  # closed before the period
        (70, "EUR", "prospecting", 3, None),
        (80, "EUR", "proposal", 45, None),
        (90, "EUR", "proposal", 400, None),
        (5, "JPY", "closed_lost", 9, 1),
        (7, "JPY", "proposal", 61, None),
    ]
    for amount, currency, stage, created, closed in plan:
        made = await standing.deal(acme, amount_minor=amount, currency=currency)
        why = {"lost_reason": "price"} if stage == "closed_lost" else {}
        await standing.put(acme, made, stage=stage, **why)
        backdate(standing, acme, made["id"], created, closed)
    found = await standing.get(acme, "/api/deals/analytics")

    assert (found["first"], found["last"]) == (
        str((NOW - timedelta(days=89)).date()),
        str(NOW.date()),
    )
    assert (found["won_deals"], found["lost_deals"], found["win_rate"]) == (2, 2, 0.5)
    assert found["created_deals"] == 7
    euro, yen = found["currencies"]
    velocity = 3 * Fraction(2, 3) * Fraction(3001, 2) / Fraction(20)
    assert euro == {
        "currency": "EUR",
        "won_deals": 2,
        "won_minor": 3001,
        "lost_deals": 1,
        "lost_minor": 500,
        "win_rate": 0.6667,
        "average_won_minor": round(Fraction(3001, 2)),
        "average_days": 20.0,
        "open_deals": 3,
        "velocity_minor": round(velocity),
    }
    assert (yen["win_rate"], yen["average_won_minor"], yen["velocity_minor"]) == (0.0, None, None)
    assert yen["average_days"] is None
    assert found["lost_reasons"] == [{"lost_reason": "price", "deals": 2}]
    assert [(one["stage"], one["visits"]) for one in found["stages"]] == [("prospecting", 8)]
    ages = [
        (one["currency"], one["from_days"], one["to_days"], one["deals"], one["amount_minor"])
        for one in found["ageing"]
    ]
    assert ages == [
        ("EUR", 0, 30, 1, 70),
        ("EUR", 31, 60, 1, 80),
        ("EUR", 91, None, 1, 90),
        ("JPY", 61, 90, 1, 7),
    ]
    assert AGES == (0, 31, 61, 91)


async def test_numbers_are_of_an_owner_or_a_pipeline_if_asked(standing: Any, acme: str) -> None:
    mine = await standing.deal(acme)
    nobodys = await standing.deal(acme, owner_id=None)
    for one in (mine, nobodys):
        await standing.put(acme, one, stage="closed_won")
    everybody = await standing.get(acme, "/api/deals/analytics")
    of_me = await standing.get(acme, "/api/deals/analytics", owner_id="u1")
    nowhere = await standing.get(
        acme, "/api/deals/analytics", pipeline_id="0b5bb1a4-5c6e-4e6b-9d35-1b1e3a1a7f6c"
    )

    assert (everybody["won_deals"], of_me["won_deals"], nowhere["won_deals"]) == (2, 1, 0)
    assert (nowhere["win_rate"], nowhere["currencies"], nowhere["stages"]) == (None, [], [])


async def test_deals_that_were_deleted_do_not_count(standing: Any, acme: str) -> None:
    made = await standing.deal(acme)
    await standing.put(acme, made, stage="proposal")
    path, headers = f"/api/deals/{made['id']}", standing.bearer(acme, "manager")
    before = await standing.get(acme, "/api/deals/analytics")
    deleted = await standing.http.delete(path, headers=headers)
    after = await standing.get(acme, "/api/deals/analytics")
    await standing.http.post(f"{path}/restore", headers=headers)
    again = await standing.get(acme, "/api/deals/analytics")

    assert deleted.status_code == 204
    assert [one["visits"] for one in before["stages"]] == [1]
    assert (after["created_deals"], after["stages"]) == (0, [])
    assert [one["visits"] for one in again["stages"]] == [1]


async def test_a_period_is_of_days_and_not_of_seconds(standing: Any, acme: str) -> None:
    for path in ("analytics", "forecast"):
        for name in ("first", "last"):
            for value in ("1767225600", "2026-01-01T00:00:00", "20260101"):
                answer = await standing.http.get(
                    f"/api/deals/{path}", params={name: value}, headers=standing.bearer(acme)
                )
                assert answer.status_code == 400, (path, name, value, answer.text)
