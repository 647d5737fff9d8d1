"""Figures of mails: what a plain count of the same rows says."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

pytestmark = pytest.mark.anyio

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def start_of(moment: datetime, period: str) -> datetime:
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if period == "month" else day


def fill(service: Any, tenant: str, seed: int) -> list[dict[str, Any]]:
    """Write mails of any fate, and return what they are."""
    chance = random.Random(seed)
    templates = service.rows(tenant, "select id, key from email_templates order by key")
    made, statements = [], []
    for _ in range(200):
        at = BEGIN + timedelta(minutes=chance.randrange(60 * 24 * 60))
        status = chance.choice(["sent", "sent", "sent", "failed", "queued"])
        template = chance.choice([None, *templates])
        one: dict[str, Any] = {
            "id": str(uuid4()),
            "status": status,
            "template": template and str(template[0]),
            "at": at,
            "opened": chance.random() < 0.5,
            "clicked": chance.random() < 0.3,
            "unsubscribed": chance.random() < 0.1,
            "machine": chance.random() < 0.2,
        }
        made.append(one)
        ended = {"sent": "sent_at", "failed": "failed_at", "queued": "created_at"}[status]
        moments = [ended, *(f"{it}_at" for it in ("opened", "clicked", "unsubscribed") if one[it])]
        columns = ", ".join(moments)
        values = ", ".join([f"'{at.isoformat()}'"] * len(moments))
        which = "null" if one["template"] is None else f"'{one['template']}'"
        statements.append(
            "insert into emails (id, status, recipient, subject, body_text, transactional, tracked,"
            f" created_by, template_id, machine_opens, {columns}) values ('{one['id']}', '{status}',"
            f" 'a@example.com', 's', 't', false, true, 'x', {which}, {int(one['machine'])}, {values})",
        )
    service.rows(tenant, "; ".join(statements))
    return made


@pytest.mark.parametrize("period", ["day", "week", "month"])
async def test_figures_are_a_plain_count_by_template_and_period(
    service: Any, client: Any, acme: str, period: str
) -> None:
    made = fill(service, acme, seed=len(period))
    begin, end = BEGIN + timedelta(days=3, hours=5), BEGIN + timedelta(days=50)
    counts: dict[tuple[Any, datetime], Counter[str]] = {}
    for one in made:
        if one["status"] == "queued" or not begin <= one["at"] < end:
            continue
        count = counts.setdefault((one["template"], start_of(one["at"], period)), Counter())
        count[one["status"]] += 1
        if one["status"] == "sent":
            for what in ("opened", "clicked", "unsubscribed"):
                count[what] += one[what]
            count["machine_opened"] += one["machine"]
    params = {"begin": begin.isoformat(), "end": end.isoformat(), "period": period}
    answer = await client.get(
        "/api/emails/analytics", params=params, headers=service.bearer(acme, "viewer")
    )
    assert answer.status_code == 200, answer.text
    items = answer.json()["items"]
    found = {
        (one["template_id"], datetime.fromisoformat(one["period"])): Counter(
            {name: one[name] for name in one if isinstance(one[name], int)}
        )
        for one in items
    }
    assert {key: +value for key, value in found.items()} == {
        key: +value for key, value in counts.items()
    }
    assert len(items) == len(found)
    for one in items:
        rate = one["opened"] / one["sent"] if one["sent"] else None
        assert one["open_rate"] == rate
    template = next(one["template_id"] for one in items if one["template_id"])
    only = await client.get(
        "/api/emails/analytics",
        params={**params, "template_id": template},
        headers=service.bearer(acme, "viewer"),
    )
    assert only.json()["items"] == [one for one in items if one["template_id"] == template]


async def test_a_time_that_is_none_is_refused_and_without_one_thirty_days_are_counted(
    service: Any, client: Any, acme: str
) -> None:
    viewer = service.bearer(acme, "viewer")
    wrong = [
        {"begin": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"},
        {"begin": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z"},
        {"begin": "2024-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z"},
        {"begin": "yesterday"},
        {"begin": "0.5"},
        {"period": "hour"},
    ]
    for params in wrong:
        answer = await client.get("/api/emails/analytics", params=params, headers=viewer)
        assert answer.status_code == 400, params
    said = (await client.get("/api/emails/analytics", headers=viewer)).json()
    begin, end = (datetime.fromisoformat(said[name]) for name in ("begin", "end"))
    assert end - begin == timedelta(days=30)
