from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

pytestmark = pytest.mark.anyio

STAGES: list[dict[str, Any]] = [
    {"key": "first", "name": "First", "probability": 20, "next_stages": ["second"]},
    {"key": "second", "name": "Second", "probability": 60},
    {"key": "yes", "name": "Yes", "outcome": "won", "next_stages": []},
    {"key": "no", "name": "No", "outcome": "lost"},
]


async def new_pipeline(world: Any, tenant: str, **changes: Any) -> Any:
    asked = {"name": f"P {uuid4().hex[:6]}", "stages": STAGES, **changes}
    headers = world.bearer(tenant, "admin")
    return await world.http.post("/api/pipelines", json=asked, headers=headers)


async def test_every_tenant_has_a_default_pipeline_and_reasons(standing: Any, acme: str) -> None:
    (pipeline,) = (await standing.get(acme, "/api/pipelines"))["items"]
    reasons = (await standing.get(acme, "/api/lost-reasons"))["items"]

    assert pipeline["is_default"]
    assert [(one["key"], one["probability"], one["outcome"]) for one in pipeline["stages"]] == [
        ("prospecting", 10, "open"),
        ("qualification", 25, "open"),
        ("proposal", 50, "open"),
        ("negotiation", 75, "open"),
        ("closed_won", 100, "won"),
        ("closed_lost", 0, "lost"),
    ]
    keys = ["competitor", "no_budget", "no_decision", "other", "price", "timing"]
    assert [one["key"] for one in reasons] == keys
    ids = [pipeline["id"], *(one["id"] for one in (*pipeline["stages"], *reasons))]
    assert {(UUID(one).version, UUID(one).variant) for one in ids} == {(7, "specified in RFC 4122")}
    assert len(set(ids)) == len(ids)


async def test_stages_say_where_a_deal_may_go(standing: Any, acme: str) -> None:
    pipeline = (await new_pipeline(standing, acme)).json()
    made = await standing.deal(acme, pipeline_id=pipeline["id"])
    jumped = await standing.put(acme, made, stage="yes")
    moved = [await standing.put(acme, made, stage=key) for key in ("second", "first", "second")]
    won = await standing.put(acme, made, stage="yes")
    final = await standing.put(acme, made, stage="first")

    allowed = {one["key"]: one["allowed"] for one in pipeline["stages"]}
    assert allowed == {
        "first": ["second"],
        "second": ["first", "yes", "no"],
        "yes": [],
        "no": ["first", "second"],
    }
    assert (jumped.status_code, jumped.json()["code"]) == (422, "TRANSITION_REFUSED")
    assert jumped.json()["error"] == "a deal goes from first to second only"
    assert [one.status_code for one in moved] == [200, 200, 200]
    assert won.json()["status"] == "won"
    assert (final.status_code, final.json()["code"]) == (422, "TRANSITION_REFUSED")


@pytest.mark.parametrize(
    "stages",
    [
        STAGES[1:2] * 3,
        STAGES[1:],
        [STAGES[1], STAGES[2], STAGES[2]],
        [STAGES[0], STAGES[2], STAGES[3]],
        [STAGES[1], {**STAGES[2], "probability": 99}, STAGES[3]],
        [STAGES[1], STAGES[2], {**STAGES[3], "probability": 1}],
        [STAGES[2], STAGES[3], {**STAGES[3], "key": "other"}],
    ],
)
async def test_a_pipeline_that_makes_no_sense_is_refused(
    standing: Any, acme: str, stages: list[dict[str, Any]]
) -> None:
    answer = await new_pipeline(standing, acme, stages=stages)
    if stages == STAGES[1:]:
        assert answer.status_code == 201
    else:
        assert (answer.status_code, answer.json()["code"]) == (422, "PIPELINE_INVALID")


async def test_there_is_always_one_default_pipeline(standing: Any, acme: str) -> None:
    (old,) = (await standing.get(acme, "/api/pipelines"))["items"]
    made = (await new_pipeline(standing, acme, is_default=True)).json()
    admin = standing.bearer(acme, "admin")
    third = (await new_pipeline(standing, acme)).json()
    refused = [
        await standing.http.patch(
            f"/api/pipelines/{made['id']}", json={"is_default": False}, headers=admin
        ),
        await standing.http.delete(f"/api/pipelines/{made['id']}", headers=admin),
    ]
    taken = await standing.http.patch(
        f"/api/pipelines/{third['id']}", json={"name": old["name"].upper()}, headers=admin
    )
    again = await new_pipeline(standing, acme, name=old["name"])
    changed = await standing.http.patch(
        f"/api/pipelines/{third['id']}",
        json={"is_default": True, "name": "Third"},
        headers={**admin, "if-match": '"v1"'},
    )
    found = (await standing.get(acme, "/api/pipelines"))["items"]
    gone = await standing.http.delete(f"/api/pipelines/{made['id']}", headers=admin)

    assert {(one.status_code, one.json()["code"]) for one in refused} == {
        (422, "DEFAULT_PIPELINE_NEEDED")
    }
    assert (taken.status_code, taken.json()["code"]) == (409, "NAME_TAKEN")
    assert (again.status_code, again.json()["code"]) == (409, "NAME_TAKEN")
    assert changed.status_code == 200, changed.text
    assert [one["name"] for one in found if one["is_default"]] == ["Third"]
    assert (await standing.deal(acme))["pipeline_id"] == third["id"]
    assert gone.status_code == 204


async def test_stages_are_added_changed_moved_and_removed(standing: Any, acme: str) -> None:
    pipeline = (await new_pipeline(standing, acme)).json()
    url, admin = f"/api/pipelines/{pipeline['id']}/stages", standing.bearer(acme, "admin")
    new = {"key": "third", "name": "Third", "probability": 80, "position": 3}
    added = await standing.http.post(url, json=new, headers=admin)
    taken = await standing.http.post(url, json=new, headers=admin)
    ids = {one["key"]: one["id"] for one in added.json()["stages"]}
    changed = await standing.http.patch(
        f"{url}/{ids['third']}",
        json={"position": 1, "probability": 5, "next_stages": ["no"]},
        headers={**admin, "if-match": added.headers["etag"]},
    )
    same = await standing.http.patch(f"{url}/{ids['third']}", json={}, headers=admin)
    late = await standing.http.patch(
        f"{url}/{ids['third']}", json={}, headers={**admin, "if-match": added.headers["etag"]}
    )
    wrong = [
        await standing.http.patch(f"{url}/{ids['yes']}", json={"probability": 9}, headers=admin),
        await standing.http.patch(
            f"{url}/{ids['first']}", json={"next_stages": ["nowhere"]}, headers=admin
        ),
        await standing.http.delete(f"{url}/{ids['second']}", headers=admin),  # first leads there
        await standing.http.delete(f"{url}/{ids['yes']}", headers=admin),
    ]
    removed = await standing.http.delete(f"{url}/{ids['third']}", headers=admin)
    twice = await standing.http.delete(f"{url}/{ids['third']}", headers=admin)

    keys = [one["key"] for one in added.json()["stages"]]
    assert keys == ["first", "second", "third", "yes", "no"]
    assert (taken.status_code, taken.json()["code"]) == (409, "NAME_TAKEN")
    first = changed.json()["stages"][0]
    assert (first["key"], first["probability"], first["allowed"]) == ("third", 5, ["no"])
    assert [one["position"] for one in changed.json()["stages"]] == [1, 2, 3, 4, 5]
    assert same.json() == changed.json()
    assert late.status_code == 412
    assert {(one.status_code, one.json()["code"]) for one in wrong} == {(422, "PIPELINE_INVALID")}
    assert [one["key"] for one in removed.json()["stages"]] == ["first", "second", "yes", "no"]
    assert removed.json()["version"] == changed.json()["version"] + 1
    assert (twice.status_code, twice.json()["code"]) == (404, "STAGE_NOT_FOUND")


async def test_what_deals_are_in_is_not_removed_though_they_are_deleted(
    standing: Any, acme: str
) -> None:
    pipeline = (await new_pipeline(standing, acme)).json()
    made = await standing.deal(acme, pipeline_id=pipeline["id"], stage="second")
    admin = standing.bearer(acme, "admin")
    await standing.http.delete(f"/api/deals/{made['id']}", headers=admin)
    ids = {one["key"]: one["id"] for one in pipeline["stages"]}
    url = f"/api/pipelines/{pipeline['id']}"
    answers = [
        await standing.http.delete(url, headers=admin),
        await standing.http.delete(f"{url}/stages/{ids['second']}", headers=admin),
    ]

    assert {(one.status_code, one.json()["code"]) for one in answers} == {(422, "PIPELINE_IN_USE")}


async def test_a_new_probability_is_that_of_deals_that_come_later(standing: Any, acme: str) -> None:
    pipeline = (await new_pipeline(standing, acme)).json()
    before = await standing.deal(acme, pipeline_id=pipeline["id"])
    stage = pipeline["stages"][0]["id"]
    await standing.http.patch(
        f"/api/pipelines/{pipeline['id']}/stages/{stage}",
        json={"probability": 33},
        headers=standing.bearer(acme, "admin"),
    )
    after = await standing.deal(acme, pipeline_id=pipeline["id"])

    assert await standing.get(acme, f"/api/deals/{before['id']}") == before
    assert (before["probability"], after["probability"]) == (20, 33)


async def test_the_board_shows_each_stage_with_its_worth_and_newest_deals(
    standing: Any, acme: str
) -> None:
    made = [
        await standing.deal(acme, amount_minor=amount, currency=currency, owner_id=owner)
        for amount, currency, owner in (
            (101, "EUR", "u1"),
            (50, "EUR", None),
            (1000, "JPY", "u1"),
        )
    ]
    await standing.put(acme, made[0], stage="closed_won")
    pipeline = made[0]["pipeline_id"]
    board = await standing.get(acme, f"/api/pipelines/{pipeline}/board", each=1)
    mine = await standing.get(acme, f"/api/pipelines/{pipeline}/board", owner_id="u1")

    columns = {one["stage"]["key"]: one for one in board["columns"]}
    assert len(columns) == 6
    assert columns["prospecting"]["worth"] == [
        {"currency": "EUR", "deals": 1, "amount_minor": 50, "weighted_minor": 5},
        {"currency": "JPY", "deals": 1, "amount_minor": 1000, "weighted_minor": 100},
    ]
    assert [one["id"] for one in columns["prospecting"]["deals"]] == [made[2]["id"]]
    assert columns["closed_won"]["worth"] == []
    assert [one["id"] for one in columns["closed_won"]["deals"]] == [made[0]["id"]]
    assert columns["proposal"] == {**columns["proposal"], "worth": [], "deals": []}
    assert [len(one["deals"]) for one in mine["columns"]] == [1, 0, 0, 0, 1, 0]
    nobody = await standing.http.get(
        f"/api/pipelines/{uuid4()}/board", headers=standing.bearer(acme)
    )
    assert nobody.status_code == 404


async def test_reasons_are_made_renamed_taken_out_of_use_and_removed(
    standing: Any, acme: str
) -> None:
    admin, url = standing.bearer(acme, "admin"), "/api/lost-reasons"
    asked = {"key": "weather", "name": "Weather"}
    made = await standing.http.post(url, json=asked, headers=admin)
    taken = await standing.http.post(url, json=asked, headers=admin)
    one = made.headers["location"]
    deal = await standing.deal(acme)
    lost = await standing.put(acme, deal, stage="closed_lost", lost_reason="weather")
    kept = await standing.http.delete(one, headers=admin)
    off = await standing.http.patch(
        one, json={"is_active": False}, headers={**admin, "if-match": '"v1"'}
    )
    same = await standing.http.patch(one, json={"is_active": False}, headers=admin)
    note = await standing.put(acme, deal, lost_note="rain")
    another = await standing.put(
        acme, await standing.deal(acme), stage="closed_lost", lost_reason="weather"
    )
    fresh = await standing.http.post(url, json={"key": "x", "name": "X"}, headers=admin)
    gone = await standing.http.delete(fresh.headers["location"], headers=admin)
    absent = await standing.http.get(fresh.headers["location"], headers=admin)

    assert (taken.status_code, taken.json()["code"]) == (409, "NAME_TAKEN")
    assert lost.json()["lost_reason"] == "weather"
    assert (kept.status_code, kept.json()["code"]) == (422, "LOST_REASON_IN_USE")
    assert off.json() == same.json() == await standing.get(acme, one)
    assert (off.json()["is_active"], off.json()["version"]) == (False, 2)
    assert (note.status_code, note.json()["lost_note"]) == (200, "rain")
    assert (another.status_code, another.json()["code"]) == (422, "LOST_REASON_UNKNOWN")
    assert (gone.status_code, absent.status_code) == (204, 404)
