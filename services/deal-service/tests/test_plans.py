"""How PostgreSQL answers every SELECT of `queries`: no large table is read from one end to the other.

A SELECT that is added to `queries` fails here until it has parameters below.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

import deal_service
from mtenant_chassis.pages import WHOLE
from mtenant_chassis.testing import Place

LARGE = {"deals", "deal_visits", "deal_contacts", "merged_contacts"}
NOW = datetime.now(UTC)

EVER = NOW - timedelta(days=3650)

# What may read all of a large table, and why.
_ALL_OF_IT = "a period that holds every deal sums up every deal, and the table is the shortest way"
SCANS = {
    "analytics._CLOSED (ever)": _ALL_OF_IT,
    "analytics._CREATED (ever)": _ALL_OF_IT,
    "analytics._LOST (ever)": _ALL_OF_IT,
    "analytics._STAYED (ever)": _ALL_OF_IT,
    "forecast._SUMS (ever)": _ALL_OF_IT,
}


def statements() -> Iterator[tuple[str, str]]:
    """Yield every statement that begins with SELECT or WITH, and its name."""
    for path in sorted((Path(deal_service.__file__).parent / "queries").glob("[a-z]*.py")):
        module = importlib.import_module(f"deal_service.queries.{path.stem}")
        for name, value in sorted(vars(module).items()):
            if not re.fullmatch("_[A-Z_]+", name) or name in {"_FROM", "_COLUMNS"}:
                continue
            for key, text in value.items() if isinstance(value, dict) else [("", value)]:
                if text.startswith(("select ", "with ")):
                    yield f"{path.stem}.{name}{key and f'[{key}]'}", text


STATEMENTS = dict(statements())


def fill(place: Place, tenant: str, deals: int) -> dict[str, Any]:
    """Give a tenant deals of all kinds, and return values that some of them have."""
    with psycopg.connect(
        place.admin, autocommit=True, options=f"-csearch_path=tenant_{tenant}"
    ) as conn:
        conn.execute(
            """
            with stage as (select array_agg(id order by position) as ids,
                array_agg(outcome order by position) as outcomes,
                array_agg(probability order by position) as shares,
                min(pipeline_id::text)::uuid as pipeline from stages),
            reason as (select id from lost_reasons where key = 'price')
            insert into deals (id, name, pipeline_id, stage_id, status, probability, amount_minor,
                currency, expected_close_date, owner_id, lost_reason_id, created_at, stage_entered_at,
                closed_at, deleted_at, custom)
            select gen_random_uuid(), 'deal ' || n, pipeline, ids[k], outcomes[k], shares[k], n * 7 %% 90000,
                (array['EUR', 'USD', 'JPY', 'KWD'])[1 + n %% 4],
                case when n %% 10 > 0 then current_date + (n %% 700)::int - 300 end,
                'user-' || n %% 50, case when outcomes[k] = 'lost' then reason.id end,
                now() - make_interval(mins => n * %(step)s), now() - make_interval(mins => n * %(step)s / 2),
                case when outcomes[k] <> 'open' then now() - make_interval(mins => n * %(step)s / 2) end,
                case when n %% 100 = 7 then now() end, jsonb_build_object('size', n %% 1000)
            from generate_series(1, %(deals)s) n, stage, reason,
                lateral (select case when n %% 10 = 0 then 1 + (n / 10 %% 4)::int
                    else 5 + (n %% 2)::int end as k) as chosen  -- one of ten is open
            """,
            {"deals": deals, "step": 3 * 365 * 24 * 60 // deals},  # over three years
        )
        conn.execute(
            "insert into deal_visits (id, deal_id, pipeline_id, stage, probability, amount_minor,"
            " currency, moved_by, entered_at, left_at) select gen_random_uuid(), d.id, d.pipeline_id,"
            " 'prospecting', 10, 1, 'EUR', 'user:u1', d.created_at, d.stage_entered_at from deals d"
        )
        conn.execute(
            "insert into deal_contacts (deal_id, contact_id) select id, md5(name)::uuid from deals"
        )
        conn.execute(
            "insert into merged_contacts (contact_id, merged_into)"
            " select gen_random_uuid(), gen_random_uuid() from generate_series(1, %s)",
            [deals // 10],
        )
        conn.execute(
            "vacuum (analyze) deals, deal_visits, deal_contacts, merged_contacts, stages, lost_reasons"
        )
        row = conn.execute(
            "select d.id, d.pipeline_id, d.stage_id, c.contact_id from deals d join deal_contacts c"
            " on c.deal_id = d.id where d.status = 'open' limit 1"
        ).fetchone()
        assert row is not None
        stages = [one[0] for one in conn.execute("select id from stages").fetchall()]
    deal, pipeline, stage, contact = row
    return {
        "deal": deal,
        "pipeline": pipeline,
        "stage": stage,
        "contact": contact,
        "stages": stages,
    }


def cases(known: dict[str, Any]) -> dict[str, list[Any]]:
    """Return the parameters of each statement: every way in which it is asked."""
    nothing = dict.fromkeys(
        (
            *("status", "pipeline_id", "owner_id", "expected_from", "expected_to"),
            *("stage", "contact_id", "custom", "at", "id"),
        )
    )
    listed = {**nothing, "limit": 51}
    some = NOW - timedelta(days=100)
    keys: dict[str, Any] = {
        "-created_at": some,
        "created_at": some,
        "-amount_minor": 500,
        "expected_close_date": "2027-01-01",
    }
    lists: dict[str, list[Any]] = {
        f"deals._LIST[{sort}]": [
            listed,
            {**listed, "at": at, "id": uuid4()},
            {**listed, "status": "open"},
            {**listed, "stage": "proposal"},
            {**listed, "owner_id": "user-7"},
            {**listed, "contact_id": known["contact"]},
            {**listed, "pipeline_id": known["pipeline"], "status": "won"},
            {**listed, "expected_from": "2027-01-01", "expected_to": "2027-01-31"},
            {**listed, "custom": '{"size": 7}'},
            {**listed, "custom": '{"size": 7}', "at": at, "id": uuid4()},
        ]
        for sort, at in keys.items()
    }
    period = {"begin": NOW - timedelta(days=90), "end": NOW, "pipeline_id": None, "owner_id": None}
    periods = [
        period,
        {**period, "begin": EVER},
        {**period, "pipeline_id": known["pipeline"]},
        {**period, "owner_id": "user-7"},
    ]
    forecast = {
        **dict.fromkeys(("first", "last", "pipeline_id", "owner_id")),
        **dict.fromkeys(("by_month", "by_owner", "by_stage"), True),
    }
    one = [known["deal"]]
    return {
        **lists,
        "deals._COUNT": [
            {**one, "limit": None} for one in lists["deals._LIST[-created_at]"] if not one["at"]
        ],
        "analytics._AGED": [{**each, "ages": [0, 31, 61, 91]} for each in periods],
        "analytics._CLOSED": periods,
        "analytics._CREATED": periods,
        "analytics._LOST": periods,
        "analytics._STAYED": periods,
        "contacts._DEALS_OF": [[known["contact"]]],
        "contacts._OF_DEAL": [one],
        "contacts._SURVIVOR": [{"contact": known["contact"]}],
        "custom_fields._DEALS_HAVE": [["no_such_key"]],
        "deals._BY_ID": [one],
        "deals._CARDS": [
            {"stages": known["stages"], "owner_id": owner, "limit": 20}
            for owner in (None, "user-7")
        ],
        "deals._LOCK": [[one, True], [[uuid4() for _ in range(200)], True]],
        "deals._MOMENT": [[NOW]],
        "deals._SUMS": [
            {"pipeline_id": known["pipeline"], "owner_id": owner} for owner in (None, "user-7")
        ],
        "forecast._SUMS": [
            forecast,
            {**forecast, "by_owner": False, "first": "2027-01-01", "last": "2027-03-31"},
            {**forecast, "owner_id": "user-7"},
            {**forecast, "pipeline_id": known["pipeline"]},
        ],
        "lost_reasons._ACTIVE": [[]],
        "lost_reasons._ALL": [[]],
        "lost_reasons._BY_ID": [[uuid4()]],
        "lost_reasons._IN_USE": [[uuid4()]],
        "pipelines._ALL": [[]],
        "pipelines._BY_ID": [[known["pipeline"]]],
        "pipelines._DEFAULT": [[]],
        "pipelines._IN_USE": [[uuid4()]],
        "pipelines._NAME_TAKEN": [["x", uuid4()]],
        "pipelines._STAGES": [[[known["pipeline"]]]],
        "pipelines._STAGE_IN_USE": [[uuid4()]],
        "visits._COUNT": [{"deal_id": known["deal"], **WHOLE}],
        "visits._OF_DEAL": [
            {"deal_id": known["deal"], "at": None, "id": None, "limit": 51},
            {"deal_id": known["deal"], "at": some, "id": uuid4(), "limit": 51},
        ],
    }


def scanned(plan: dict[str, Any]) -> Iterator[str]:
    """Yield the tables that a plan reads from one end to the other."""
    if plan["Node Type"] == "Seq Scan":
        yield plan["Relation Name"]
    for part in plan.get("Plans", ()):
        yield from scanned(part)


def check_plans(place: Place, deals: int) -> None:
    tenant = place.tenant()
    known = fill(place, tenant, deals)
    asked = cases(known)
    assert asked.keys() == STATEMENTS.keys()
    found: dict[str, set[str]] = {}
    with psycopg.connect(
        place.app, autocommit=True, options=f"-csearch_path=tenant_{tenant}"
    ) as conn:
        conn.prepare_threshold = None  # a plan for these values, as an unnamed statement has one
        for name, params in ((name, one) for name, some in asked.items() for one in some):
            text = f"explain (format json) {STATEMENTS[name]}".encode()
            row = conn.execute(text, params).fetchone()
            assert row is not None
            plan = row[0] if isinstance(row[0], list) else json.loads(row[0])
            if tables := LARGE & set(scanned(plan[0]["Plan"])):
                case = f"{name} (ever)" if is_ever(name, params) else name
                if case not in SCANS:
                    found[f"{case} {_shown(params)}"] = tables
    assert found == {}


def is_ever(name: str, params: Any) -> bool:
    """Tell whether a statement is asked for a period without an end."""
    if name == "forecast._SUMS":
        return params["first"] is None and params["owner_id"] is None
    return isinstance(params, dict) and params.get("begin") == EVER


def _shown(params: Any) -> str:
    if isinstance(params, dict):
        return str({name: str(one) for name, one in params.items() if one is not None})
    return str([str(one) for one in params])[:100]


def test_no_statement_reads_all_of_twenty_thousand_deals(place: Place) -> None:
    check_plans(place, 20_000)


@pytest.mark.slow
def test_no_statement_reads_all_of_a_hundred_thousand_deals(place: Place) -> None:
    check_plans(place, 100_000)
