"""The forecast against a plain computation in exact arithmetic, over any deals."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from fractions import Fraction
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deal_service.domain.money import MOST
from mtenant_chassis.testing import Place

pytestmark = pytest.mark.anyio

STAGES = ("prospecting", "qualification", "proposal", "closed_won", "closed_lost")
DIMENSIONS = ("month", "owner", "stage")


@dataclass(frozen=True)
class Row:
    """A deal, as it is put into the table."""

    stage: str
    probability: int
    amount: int
    currency: str
    owner: str | None
    expected: date | None
    closed: datetime
    deleted: bool

    @property
    def status(self) -> str:
        return {"closed_won": "won", "closed_lost": "lost"}.get(self.stage, "open")

    @property
    def day(self) -> date | None:
        return self.closed.astimezone(UTC).date() if self.status != "open" else self.expected


days = st.dates(date(2027, 1, 30), date(2027, 2, 2)) | st.dates(
    date(2026, 1, 1), date(2027, 12, 31)
)
moments = st.builds(  # the last moments of a day, and the first ones
    datetime.combine,
    days,
    st.sampled_from([time.min, time.max]),
    st.sampled_from([UTC, timezone(timedelta(hours=13)), timezone(timedelta(hours=-11))]),
)
rows = st.builds(
    Row,
    stage=st.sampled_from(STAGES),
    probability=st.integers(0, 100),
    amount=st.one_of(st.integers(0, 300), st.integers(0, MOST)),
    currency=st.sampled_from(["EUR", "JPY", "KWD"]),
    owner=st.sampled_from([None, "ada", "bob"]),
    expected=st.none() | days,
    closed=moments,
    deleted=st.sampled_from([False, False, False, True]),
)


@pytest.fixture(scope="module")
async def tenant(place: Place) -> str:
    return await place.new_tenant()


@pytest.fixture(scope="module")
async def pipeline(standing: Any, tenant: str) -> dict[str, Any]:
    (found,) = (await standing.get(tenant, "/api/pipelines"))["items"]
    return dict(found)


def store(world: Any, tenant: str, pipeline: dict[str, Any], deals: list[Row]) -> None:
    ids = {one["key"]: one["id"] for one in pipeline["stages"]}
    values = [
        {
            "id": str(uuid4()),
            "stage_id": ids[one.stage],
            "status": one.status,
            "probability": {"won": 100, "lost": 0}.get(one.status, one.probability),
            "amount_minor": one.amount,
            "currency": one.currency,
            "owner_id": one.owner,
            "expected": one.expected and one.expected.isoformat(),
            "closed_at": None if one.status == "open" else one.closed.isoformat(),
            "deleted": one.deleted,
        }
        for one in deals
    ]
    world.rows(tenant, "truncate deals cascade")
    world.rows(
        tenant,
        "insert into deals (id, name, pipeline_id, stage_id, status, probability, amount_minor,"
        " currency, owner_id, expected_close_date, closed_at, deleted_at, lost_reason_id)"
        " select id, 'x', %s, stage_id, status, probability, amount_minor, currency, owner_id,"
        " expected, closed_at, case when deleted then now() end, case when status = 'lost' then"
        " (select id from lost_reasons limit 1) end from jsonb_to_recordset(%s) as"
        " given (id uuid, stage_id uuid, status text, probability smallint, amount_minor bigint,"
        " currency text, owner_id text, expected date, closed_at timestamptz, deleted boolean)",
        pipeline["id"],
        json.dumps(values),
    )


def plainly(
    deals: list[Row], by: set[str], first: date | None, last: date | None, owner: str | None
) -> dict[tuple[str | None, ...], dict[str, int]]:
    """Compute the forecast deal by deal, with fractions."""
    exact: defaultdict[tuple[str | None, ...], dict[str, Any]] = defaultdict(
        lambda: dict.fromkeys(
            ("open_deals", "open_minor", "won_deals", "won_minor", "weighted_minor"), 0
        )
    )
    for one in deals:
        if one.deleted or one.status == "lost" or (owner and one.owner != owner):
            continue
        if first and not (one.day and one.day >= first):
            continue
        if last and not (one.day and one.day <= last):
            continue
        key = (
            one.day.strftime("%Y-%m") if "month" in by and one.day else None,
            one.owner if "owner" in by else None,
            one.stage if "stage" in by else None,
            one.currency,
        )
        share = Fraction(100 if one.status == "won" else one.probability, 100)
        exact[key][f"{one.status}_deals"] += 1
        exact[key][f"{one.status}_minor"] += one.amount
        exact[key]["weighted_minor"] += one.amount * share
    return {
        key: {**found, "weighted_minor": round(found["weighted_minor"])}
        for key, found in exact.items()
    }


@settings(max_examples=40, deadline=None)
@given(
    deals=st.lists(rows, max_size=25),
    by=st.sets(st.sampled_from(DIMENSIONS), min_size=1),
    period=st.lists(days, min_size=2, max_size=2).map(sorted),
    bounds=st.sampled_from([(False, False), (True, True), (True, False), (False, True)]),
    owner=st.sampled_from([None, "ada"]),
)
async def test_the_forecast_is_the_sum_of_its_deals_to_the_last_unit(
    *,
    standing: Any,
    tenant: str,
    pipeline: dict[str, Any],
    deals: list[Row],
    by: set[str],
    period: list[date],
    bounds: tuple[bool, bool],
    owner: str | None,
) -> None:
    store(standing, tenant, pipeline, deals)
    first, last = (day if bounded else None for day, bounded in zip(period, bounds, strict=True))
    asked: dict[str, Any] = {"by": sorted(by)}
    for name, value in (("first", first), ("last", last), ("owner_id", owner)):
        if value is not None:
            asked[name] = str(value)
    found = (await standing.get(tenant, "/api/deals/forecast", **asked))["items"]

    wanted = plainly(deals, by, first, last, owner)
    got = {
        (one["month"], one["owner_id"], one["stage"], one["currency"]): {
            name: one[name] for name in next(iter(wanted.values()), ())
        }
        for one in found
    }
    assert got == wanted
    assert len(found) == len(wanted)


async def test_a_won_deal_counts_on_the_day_it_was_closed_by_the_calendar_of_utc(
    standing: Any, tenant: str, pipeline: dict[str, Any]
) -> None:
    midnight = datetime(2027, 2, 1, tzinfo=UTC)
    moments = [midnight - timedelta(microseconds=1), midnight]
    deals = [
        Row("closed_won", 100, n, "EUR", None, None, moment, deleted=False)
        for n, moment in enumerate(moments, start=1)
    ]
    store(standing, tenant, pipeline, deals)
    found = (await standing.get(tenant, "/api/deals/forecast"))["items"]

    months = [(one["month"], one["won_minor"]) for one in found]
    assert months == [("2027-01", 1), ("2027-02", 2)]


async def test_a_stage_at_zero_percent_counts_nothing_and_is_there(
    standing: Any, acme: str
) -> None:
    await standing.put(acme, await standing.deal(acme, amount_minor=900), probability=0)
    await standing.put(acme, await standing.deal(acme, amount_minor=70), stage="closed_won")
    lost = await standing.deal(acme, amount_minor=5)
    await standing.put(acme, lost, stage="closed_lost", lost_reason="price")
    found = (await standing.get(acme, "/api/deals/forecast", by=["stage"]))["items"]

    said = [
        (one["stage"], one["open_minor"], one["won_minor"], one["weighted_minor"]) for one in found
    ]
    assert said == [("prospecting", 900, 0, 0), ("closed_won", 0, 70, 70)]


async def test_a_period_that_is_none_breaks_a_rule(standing: Any, acme: str) -> None:
    for path in ("/api/deals/forecast", "/api/deals/analytics"):
        for params in (
            {"first": "2027-01-02", "last": "2027-01-01"},
            {"first": "2000-01-01", "last": "2027-01-01"},
            {"first": "9999-12-01", "last": "9999-12-31"},
        ):
            answer = await standing.http.get(path, params=params, headers=standing.bearer(acme))
            assert (answer.status_code, answer.json()["code"]) == (422, "PERIOD_INVALID")
