from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import date, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import pytest

from mtenant_chassis.testing import read_list

pytestmark = pytest.mark.anyio


async def test_a_deal_begins_in_the_first_open_stage_of_the_default_pipeline(
    standing: Any, acme: str
) -> None:
    contact = standing.neighbours.contact(acme)
    made = await standing.deal(
        acme, expected_close_date="2027-03-31", contact_ids=[contact], currency="KWD"
    )
    shown = await standing.get(acme, f"/api/deals/{made['id']}")

    assert shown == made
    assert UUID(made["id"]).version == 7
    expected = {
        "stage": "prospecting",
        "status": "open",
        "probability": 10,
        "amount_minor": 1_250_000,
        "amount": "1250.000",
        "exponent": 3,
        "owner_id": "u1",
        "contact_ids": [contact],
        "expected_close_date": "2027-03-31",
        "closed_at": None,
        "version": 1,
    }
    assert {name: made[name] for name in expected} == expected
    (told,) = standing.told(acme)
    assert type(told).__name__ == "DealCreated"
    assert (told.deal_id, told.stage, told.contact_ids) == (made["id"], "prospecting", [contact])
    assert (told.pipeline_id, told.amount_minor) == (made["pipeline_id"], 1_250_000)


async def test_put_of_a_stage_alone_wins_a_deal(standing: Any, acme: str) -> None:
    contact = standing.neighbours.contact(acme)
    made = await standing.deal(acme, contact_ids=[contact])
    won = await standing.put(acme, made, stage="closed_won")

    assert won.status_code == 200, won.text
    assert (won.json()["status"], won.json()["probability"]) == ("won", 100)
    assert won.json()["closed_at"] == won.json()["stage_entered_at"]
    assert (won.headers["etag"], won.json()["version"]) == ('"v2"', 2)
    created, moved, closed = standing.told(acme)
    assert [type(one).__name__ for one in (created, moved, closed)] == [
        "DealCreated",
        "DealStageChanged",
        "DealClosedWon",
    ]
    assert (moved.from_stage, moved.to_stage, moved.probability) == (
        "prospecting",
        "closed_won",
        100,
    )
    assert closed.contact_ids == [contact]
    assert (closed.amount_minor, closed.currency, closed.name) == (
        1_250_000,
        "EUR",
        "Hundred chairs",
    )


async def test_a_deal_is_lost_for_a_reason_and_not_without(standing: Any, acme: str) -> None:
    made = await standing.deal(acme)
    bare = await standing.put(acme, made, stage="closed_lost")
    odd = await standing.put(acme, made, stage="closed_lost", lost_reason="weather")
    early = await standing.put(acme, made, lost_reason="price")
    lost = await standing.put(
        acme, made, stage="closed_lost", lost_reason="price", lost_note="twice as much"
    )
    again = await standing.put(acme, made, stage="proposal")

    refused = [(one.status_code, one.json()["code"]) for one in (bare, odd, early)]
    assert refused == [
        (422, "LOST_REASON_REQUIRED"),
        (422, "LOST_REASON_UNKNOWN"),
        (422, "LOST_REASON_UNWANTED"),
    ]
    assert (lost.json()["lost_reason"], lost.json()["probability"]) == ("price", 0)
    assert standing.told(acme, "DealClosedLost")[0].lost_reason == "price"
    assert (again.json()["status"], again.json()["lost_reason"]) == ("open", None)
    assert again.json()["lost_note"] is None
    assert again.json()["closed_at"] is None


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"stage": "nowhere"}, "STAGE_UNKNOWN"),
        ({"stage": "closed_lost", "lost_reason": "price"}, "TRANSITION_REFUSED"),
        ({"amount_minor": 1}, "DEAL_CLOSED"),
        ({"currency": "USD"}, "DEAL_CLOSED"),
        ({"probability": 50}, "DEAL_CLOSED"),
        ({"lost_note": "why"}, "LOST_REASON_UNWANTED"),
        ({"pipeline_id": str(uuid4())}, "PIPELINE_UNKNOWN"),
        ({"owner_id": str(uuid4())}, "OWNER_UNKNOWN"),
        ({"owner_id": "nobody"}, "OWNER_UNKNOWN"),
    ],
)
async def test_a_closed_deal_breaks_no_rule(
    standing: Any, acme: str, given: dict[str, Any], code: str
) -> None:
    made = await standing.deal(acme)
    won = await standing.put(acme, made, stage="closed_won")
    answer = await standing.put(acme, made, **given)

    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert await standing.get(acme, f"/api/deals/{made['id']}") == won.json()
    assert len(standing.told(acme)) == 3


async def test_what_says_nothing_new_changes_nothing(standing: Any, acme: str) -> None:
    made = await standing.deal(acme)
    same = {
        name: made[name]
        for name in ("name", "stage", "amount_minor", "currency", "owner_id", "pipeline_id")
    }
    for method in ("PUT", "PATCH"):
        answer = await standing.put(acme, made, method=method, **same)
        empty = await standing.put(acme, made, method=method)
        assert (answer.status_code, answer.json()) == (200, made)
        assert empty.json() == made
    assert len(standing.told(acme)) == 1


async def test_null_takes_away_and_what_is_left_out_stays(standing: Any, acme: str) -> None:
    made = await standing.deal(acme, expected_close_date="2027-01-01")
    one = await standing.put(acme, made, method="PATCH", expected_close_date=None, owner_id=None)
    two = await standing.put(acme, made, probability=0, name="Other chairs")
    wrong = await standing.put(acme, made, name=None)
    nul = await standing.put(acme, made, stage="closed_lost", lost_reason="price", lost_note="\0")

    assert (one.json()["expected_close_date"], one.json()["owner_id"]) == (None, None)
    assert one.json()["name"] == made["name"]
    assert (two.json()["probability"], two.json()["name"]) == (0, "Other chairs")
    for one in (wrong, nul):
        assert (one.status_code, one.json()["code"]) == (400, "VALIDATION_FAILED")


async def test_a_change_of_another_version_is_refused(standing: Any, acme: str) -> None:
    made = await standing.deal(acme)
    first = await standing.put(acme, made, name="A", headers={"if-match": '"v1"'})
    late = await standing.put(acme, made, name="B", headers={"if-match": '"v1"'})
    gone = await standing.http.delete(
        f"/api/deals/{made['id']}",
        headers={**standing.bearer(acme, "manager"), "if-match": '"v1"'},
    )

    assert first.json()["version"] == 2
    assert (late.status_code, late.json()["code"]) == (412, "VERSION_MISMATCH")
    assert gone.status_code == 412


async def test_an_owner_is_somebody_active_of_the_tenant(
    standing: Any, acme: str, other: str
) -> None:
    ada, bob = str(uuid4()), str(uuid4())
    standing.neighbours.users[acme, ada] = "active"
    standing.neighbours.users[acme, bob] = "disabled"
    standing.neighbours.users[other, str(uuid4())] = "active"
    made = await standing.deal(acme, owner_id=ada)
    asked = len(standing.neighbours.asked)
    again = await standing.put(acme, made, owner_id=ada, name="New")
    gone = await standing.put(acme, made, owner_id=bob)

    assert made["owner_id"] == ada
    assert again.status_code == 200
    assert standing.neighbours.asked[asked:] == [(acme, f"/api/auth/users/{bob}")]
    assert (gone.status_code, gone.json()["code"]) == (422, "OWNER_UNKNOWN")


async def test_the_history_tells_every_stage_and_how_long(standing: Any, acme: str) -> None:
    made = await standing.deal(acme)
    for stage in ("qualification", "negotiation", "closed_won", "proposal"):
        answer = await standing.put(acme, made, stage=stage)
        assert answer.status_code == 200, answer.text
    url = f"/api/deals/{made['id']}/history"
    found = (await read_list(standing.http, url, standing.bearer(acme)))[:3]
    rest = await standing.get(acme, f"/api/deals/{made['id']}/history")

    visits = rest["items"]
    assert visits[:3] == found
    assert [one["stage"] for one in visits] == [
        "prospecting",
        "qualification",
        "negotiation",
        "closed_won",
        "proposal",
    ]
    assert [one["probability"] for one in visits] == [10, 25, 75, 100, 50]
    assert visits[0]["entered_at"] == made["created_at"]
    assert all(one["left_at"] == two["entered_at"] for one, two in pairwise(visits))
    assert visits[-1]["left_at"] is None
    assert all(one["seconds"] >= 0 and one["moved_by"] == "user:u1" for one in visits)


async def test_a_deleted_deal_is_gone_until_it_is_restored(standing: Any, acme: str) -> None:
    made = await standing.deal(acme)
    manager, url = standing.bearer(acme, "manager"), f"/api/deals/{made['id']}"
    early = await standing.http.post(f"{url}/restore", headers=manager)
    gone = await standing.http.delete(url, headers=manager)
    answers = [
        await standing.http.get(url, headers=manager),
        await standing.http.get(f"{url}/history", headers=manager),
        await standing.http.get(f"{url}/contacts", headers=manager),
        await standing.http.put(url, headers=manager, json={"stage": "closed_won"}),
        await standing.http.delete(url, headers=manager),
    ]
    listed = await standing.get(acme, "/api/deals")
    forecast = await standing.get(acme, "/api/deals/forecast")
    back = await standing.http.post(f"{url}/restore", headers=manager)

    assert early.status_code == 404
    assert gone.status_code == 204
    assert [one.status_code for one in answers] == [404] * 5
    assert listed["items"] == forecast["items"] == []
    assert (back.status_code, back.json()["version"]) == (200, 3)
    assert (await standing.get(acme, url))["id"] == made["id"]


async def test_a_deal_goes_to_another_pipeline_while_it_is_open(standing: Any, acme: str) -> None:
    stages = [
        {"key": "first", "name": "First", "probability": 20},
        {"key": "yes", "name": "Yes", "outcome": "won"},
        {"key": "no", "name": "No", "outcome": "lost"},
    ]
    pipeline = await standing.http.post(
        "/api/pipelines",
        json={"name": "Renewals", "stages": stages},
        headers=standing.bearer(acme, "admin"),
    )
    there = pipeline.json()["id"]
    made = await standing.deal(acme)
    closed = await standing.put(acme, made, pipeline_id=there, stage="yes")
    moved = await standing.put(acme, made, pipeline_id=there)
    old = await standing.put(acme, made, stage="closed_won")
    won = await standing.put(acme, made, stage="yes")
    back = await standing.put(acme, made, pipeline_id=made["pipeline_id"])

    assert (closed.status_code, closed.json()["code"]) == (422, "STAGE_NOT_OPEN")
    assert (moved.json()["stage"], moved.json()["probability"]) == ("first", 20)
    assert (old.status_code, old.json()["code"]) == (422, "STAGE_UNKNOWN")
    assert won.json()["status"] == "won"
    assert (back.status_code, back.json()["code"]) == (422, "DEAL_CLOSED")


async def test_lists_are_filtered_and_sorted_and_every_page_fits_the_next(
    standing: Any, acme: str
) -> None:
    contact = standing.neighbours.contact(acme)
    begin = date(2027, 1, 1)
    made = []
    for n in range(12):
        day = None if n % 4 == 3 else (begin + timedelta(days=7 * (n % 5))).isoformat()
        made.append(
            await standing.deal(
                acme,
                amount_minor=100 * (n % 3),
                expected_close_date=day,
                owner_id="u1" if n % 2 else None,
                contact_ids=[contact] if n < 2 else [],
            )
        )
    await standing.put(acme, made[0], stage="closed_won")
    made[0] = await standing.get(acme, f"/api/deals/{made[0]['id']}")

    async def every(**params: Any) -> list[dict[str, Any]]:
        return await read_list(
            standing.http, "/api/deals", standing.bearer(acme), limit=5, **params
        )

    assert await every() == made[::-1]
    assert await every(sort="created_at") == made
    by_amount = await every(sort="-amount_minor")
    assert by_amount == sorted(made, key=lambda one: (one["amount_minor"], one["id"]), reverse=True)
    by_date = await every(sort="expected_close_date")
    assert by_date == sorted(
        made, key=lambda one: (one["expected_close_date"] or "infinity", one["id"])
    )
    assert await every(status="won") == [made[0]]
    assert await every(stage="prospecting", sort="created_at") == made[1:]
    assert await every(contact_id=contact, sort="created_at") == made[:2]
    assert await every(owner_id="u1", sort="created_at") == made[1::2]
    assert await every(pipeline_id=str(uuid4())) == []
    late = await every(expected_from="2027-01-15", expected_to="2027-01-22")
    assert {one["expected_close_date"] for one in late} == {"2027-01-15", "2027-01-22"}


@pytest.mark.parametrize(
    ("sort", "at"),
    [
        ("-amount_minor", 10**30),
        ("-amount_minor", -(10**18)),
        ("-created_at", "0001-01-01T00:00:00+23:59"),
        ("created_at", "9999-12-31T23:59:59-23:59"),
        ("created_at", 5),
        ("expected_close_date", "infinity"),
        ("expected_close_date", "-infinity"),
        ("expected_close_date", "0001-01-01"),
    ],
)
async def test_a_forged_cursor_finds_nothing_or_is_refused(
    standing: Any, acme: str, sort: str, at: object
) -> None:
    for _ in range(2):
        await standing.deal(acme)
    page = await standing.get(acme, "/api/deals", limit=1, sort=sort)
    cursor = page["next_cursor"]
    digest, _, last = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    forged = urlsafe_b64encode(json.dumps([digest, at, last]).encode()).rstrip(b"=").decode()
    answer = await standing.http.get(
        "/api/deals", params={"sort": sort, "cursor": forged}, headers=standing.bearer(acme)
    )
    assert answer.status_code in {200, 400}, answer.text


async def test_patch_is_a_merge_patch_by_its_content_type_too(standing: Any, acme: str) -> None:
    made = await standing.deal(acme, expected_close_date="2027-01-01")
    answer = await standing.http.patch(
        f"/api/deals/{made['id']}",
        content=b'{"expected_close_date": null}',
        headers={**standing.bearer(acme), "content-type": "application/merge-patch+json"},
    )
    assert (answer.status_code, answer.json()["expected_close_date"]) == (200, None)


async def test_a_cursor_of_another_list_is_refused(standing: Any, acme: str) -> None:
    for _ in range(2):
        await standing.deal(acme)
    page = await standing.get(acme, "/api/deals", limit=1, sort="-amount_minor")
    headers = standing.bearer(acme)
    for params in ({}, {"sort": "created_at"}, {"sort": "-amount_minor", "status": "won"}):
        answer = await standing.http.get(
            "/api/deals", params={**params, "cursor": page["next_cursor"]}, headers=headers
        )
        assert (answer.status_code, answer.json()["code"]) == (400, "CURSOR_INVALID")


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount_minor": -1},
        {"amount_minor": 1.5},
        {"amount_minor": "1"},
        {"amount_minor": True},
        {"amount_minor": 10**15},
        {"currency": "eur"},
        {"currency": "XXX"},
        {"currency": "ZZZ"},
        {"name": ""},
        {"name": "  "},
        {"name": "a\nb"},
        {"name": "a\x00b"},
        {"name": "x" * 201},
        {"expected_close_date": 5},
        {"expected_close_date": "5"},
        {"expected_close_date": "2027-02-30"},
        {"expected_close_date": "2027-02-03T00:00:00"},
        {"owner_id": "a b"},
        {"contact_ids": ["x"]},
        {"contact_ids": [str(UUID(int=1))] * 2},
        {"contact_ids": [str(UUID(int=n)) for n in range(51)]},
        {"pipeline_id": 7},
        {"status": "won"},
        {"probability": 99},
        {"stage": "Closed Won"},
    ],
    ids=repr,
)
async def test_a_deal_that_does_not_fit_the_schema_is_a_bad_request(
    standing: Any, acme: str, wrong: dict[str, Any]
) -> None:
    asked = {"name": "x", "amount_minor": 1, "currency": "EUR", **wrong}
    answer = await standing.http.post("/api/deals", json=asked, headers=standing.bearer(acme))

    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_FAILED")
    assert (await standing.get(acme, "/api/deals"))["items"] == []


async def test_half_a_character_is_a_bad_request(standing: Any, acme: str) -> None:
    body = b'{"name": "a\\ud800", "amount_minor": 1, "currency": "EUR"}'
    headers = {**standing.bearer(acme), "content-type": "application/json"}
    answer = await standing.http.post("/api/deals", content=body, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_FAILED")


async def test_a_deal_that_begins_closed_or_elsewhere_is_refused(standing: Any, acme: str) -> None:
    for given, code in (
        ({"stage": "closed_won"}, "STAGE_NOT_OPEN"),
        ({"stage": "nowhere"}, "STAGE_UNKNOWN"),
        ({"pipeline_id": str(uuid4())}, "PIPELINE_UNKNOWN"),
    ):
        asked = {"name": "x", "amount_minor": 1, "currency": "EUR", **given}
        answer = await standing.http.post("/api/deals", json=asked, headers=standing.bearer(acme))
        assert (answer.status_code, answer.json()["code"]) == (422, code)


async def test_every_write_is_in_the_audit_trail(standing: Any, acme: str) -> None:
    made = await standing.deal(acme)
    await standing.put(acme, made, amount_minor=7)
    await standing.put(acme, made, stage="closed_won")
    manager = standing.bearer(acme, "manager")
    await standing.http.delete(f"/api/deals/{made['id']}", headers=manager)
    await standing.http.post(f"/api/deals/{made['id']}/restore", headers=manager)
    found = (await standing.get(acme, "/api/deals/audit", entity_id=made["id"]))["items"]

    said = [(one["action"], one["actor"]) for one in reversed(found)]
    actions = ["created", "changed", "moved", "deleted", "restored"]
    assert said == [(f"deal.{name}", "user:u1") for name in actions]
    changed = found[3]
    assert (changed["before"], changed["after"]) == (
        {"amount_minor": 1_250_000},
        {"amount_minor": 7},
    )
