"""What a tenant adds to its deals: typed, checked, listed by; a field goes when no deal has a value."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from deal_service.handlers import deals as handlers
from mtenant_chassis.custom_fields import FieldTable
from mtenant_chassis.testing import Place

pytestmark = pytest.mark.anyio

NEW = {"name": "Chairs", "amount_minor": 5, "currency": "EUR"}
URL = "/api/deals/custom-fields"


async def ask(
    world: Any, tenant: str, method: str, path: str, role: str = "admin", **options: Any
) -> Any:
    headers = {**world.bearer(tenant, role), **options.pop("headers", {})}
    return await world.http.request(method, path, headers=headers, **options)


async def listed(world: Any, tenant: str, **params: Any) -> list[str]:
    found = await world.get(tenant, "/api/deals", sort="created_at", **params)
    return [one["name"] for one in found["items"]]


async def test_a_field_is_made_read_changed_and_deleted(standing: Any, acme: str) -> None:
    made = await standing.field(acme, "size", "choice", choices=["S", "M"])
    path = f"{URL}/{made['id']}"
    read = await ask(standing, acme, "GET", path, "viewer")
    changed = await ask(standing, acme, "PATCH", path, json={"label": "Size", "choices": ["M"]})
    stale = await ask(standing, acme, "DELETE", path, headers={"if-match": '"v1"'})
    said = (await standing.get(acme, URL))["items"]
    gone = await ask(standing, acme, "DELETE", path, headers={"if-match": '"v2"'})

    expected = {"entity": "deal", "key": "size", "type": "choice", "choices": ["S", "M"]}
    assert {name: made[name] for name in expected} == expected
    assert (read.json(), read.headers["etag"]) == (made, '"v1"')
    assert (changed.json()["label"], changed.json()["choices"]) == ("Size", ["M"])
    assert said == [changed.json()]
    assert (stale.status_code, gone.status_code) == (412, 204)
    assert (await ask(standing, acme, "GET", path)).status_code == 404
    entries = (await standing.get(acme, "/api/deals/audit", entity="custom_field"))["items"]
    assert [one["action"] for one in entries] == [
        f"custom_field.{name}" for name in ("deleted", "updated", "created")
    ]


async def test_a_field_that_makes_no_sense_is_refused(standing: Any, acme: str) -> None:
    await standing.field(acme, "taken", entity="deal")
    for more, status, code in (
        ({"type": "choice"}, 422, "CHOICES_INVALID"),
        ({"type": "text", "choices": ["a"]}, 422, "CHOICES_INVALID"),
        ({"type": "text", "key": "taken"}, 409, "CUSTOM_FIELD_TAKEN"),
        ({"type": "text", "entity": "contact"}, 400, "VALIDATION_FAILED"),
        ({"type": "text", "key": "Not a key"}, 400, "VALIDATION_FAILED"),
    ):
        asked = {"key": "c", "label": "C", **more}
        answer = await ask(standing, acme, "POST", URL, json=asked)
        assert (answer.status_code, answer.json()["code"]) == (status, code), more


async def test_values_have_the_type_of_their_field(standing: Any, acme: str) -> None:
    await standing.field(acme, "size", "choice", choices=["S", "M"])
    for key, of in (("n", "number"), ("b", "boolean"), ("d", "date"), ("t", "text")):
        await standing.field(acme, key, of)
    good = {"size": "S", "n": 1.5, "b": False, "d": "2024-02-29", "t": "x"}
    made = await standing.deal(acme, custom={**good, "none": None, "empty": ""})
    bare = await standing.deal(acme)

    assert (made["custom"], bare["custom"]) == (good, {})
    assert await standing.get(acme, f"/api/deals/{made['id']}") == made
    for key, value in (
        *(("size", "L"), ("n", "1"), ("n", True), ("b", 0), ("b", "true")),
        *(("d", "2023-02-29"), ("d", "20240229"), ("t", 1), ("other", "x")),
    ):
        asked = {**NEW, "custom": {key: value}}
        begun = await ask(standing, acme, "POST", "/api/deals", json=asked)
        changed = await standing.put(acme, made, method="PATCH", custom={key: value})
        for answer in (begun, changed):
            assert (answer.status_code, answer.json()["code"]) == (422, "CUSTOM_VALUES_INVALID")
            assert answer.json()["errors"][0]["pointer"] == f"#/custom/{key}"
    unfit: list[dict[str, Any]] = [
        {"t": "a\0b"},
        {"t": "x" * 1001},
        {"n": 2**53},
        {"n": []},
        {"N": 1},
    ]
    for custom in unfit:
        answer = await ask(standing, acme, "POST", "/api/deals", json={**NEW, "custom": custom})
        assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_FAILED")
    assert len(standing.told(acme)) == 2


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_a_change_is_merged_and_null_takes_a_value_away(
    *, standing: Any, acme: str, method: str
) -> None:
    size = await standing.field(acme, "size", "choice", choices=["S", "M"])
    for key, of in (("floor", "number"), ("team", "text")):
        await standing.field(acme, key, of)
    made = await standing.deal(acme, custom={"size": "S", "floor": 3})
    await ask(standing, acme, "PATCH", f"{URL}/{size['id']}", json={"choices": ["M"]})
    changes: list[tuple[dict[str, Any] | None, dict[str, Any]]] = [
        (
            {"team": "x"},
            {"size": "S", "floor": 3, "team": "x"},
        ),  # S was a choice when it was chosen
        ({"floor": None}, {"size": "S", "team": "x"}),
        ({"size": "", "floor": 4}, {"floor": 4, "team": "x"}),
        ({}, {"floor": 4, "team": "x"}),
        (None, {}),
    ]
    for asked, expected in changes:
        answer = await standing.put(acme, made, method=method, custom=asked)
        assert (answer.status_code, answer.json()["custom"]) == (200, expected)
    again = await standing.put(acme, made, method=method, custom={"floor": None})
    won = await standing.put(acme, made, method=method, custom={"team": "y"}, stage="closed_won")

    assert again.json()["version"] == made["version"] + 4
    assert (won.json()["status"], won.json()["custom"]) == ("won", {"team": "y"})


async def test_lists_are_filtered_by_values(standing: Any, acme: str) -> None:
    for key, of in (("floor", "number"), ("vip", "boolean"), ("since", "date"), ("team", "text")):
        await standing.field(acme, key, of)
    for name, custom in (
        ("one", {"floor": 3, "vip": True, "team": "x"}),
        ("two", {"floor": 3, "since": "2024-02-29"}),
        ("three", {"team": "3", "vip": False}),
        ("four", {}),
    ):
        await standing.deal(acme, name=name, custom=custom)

    for params, expected in (
        ({"custom.floor": "3"}, ["one", "two"]),
        ({"custom.floor": "3.0", "custom.vip": "true"}, ["one"]),
        ({"custom.vip": "False"}, ["three"]),
        ({"custom.since": "2024-02-29", "status": "open"}, ["two"]),
        ({"custom.team": "3"}, ["three"]),
        ({"custom.team": "X"}, []),
        ({"custom.floor": "3", "status": "won"}, []),
    ):
        assert await listed(standing, acme, **params) == expected, params
    for params in (
        *({"custom.floor": "x"}, {"custom.since": "2024"}, {"custom.vip": "1"}),
        *({"custom.nothing": "1"}, {"custom.": "1"}, {"custom.team": "a\0b"}),
    ):
        answer = await ask(standing, acme, "GET", "/api/deals", params=params)
        assert (answer.status_code, answer.json()["code"]) == (400, "FILTER_INVALID"), params


async def test_a_cursor_belongs_to_the_values_that_were_asked_for(standing: Any, acme: str) -> None:
    await standing.field(acme, "floor", "number")
    for n in range(3):
        await standing.deal(acme, name=str(n), custom={"floor": 3})
    page = await standing.get(acme, "/api/deals", limit=2, **{"custom.floor": "3"})
    cursor = {"cursor": page["next_cursor"]}
    for params in ({}, {"custom.floor": "4"}):
        answer = await ask(standing, acme, "GET", "/api/deals", params={**params, **cursor})
        assert (answer.status_code, answer.json()["code"]) == (400, "CURSOR_INVALID")

    rest = await standing.get(acme, "/api/deals", **{"custom.floor": "3"}, **cursor)
    assert [one["name"] for one in (*page["items"], *rest["items"])] == ["2", "1", "0"]


async def test_many_deals_have_values_each_judged_for_itself(standing: Any, acme: str) -> None:
    await standing.field(acme, "floor", "number")
    made = await standing.deal(acme, custom={"floor": 1})
    items = [
        {"create": {**NEW, "custom": {"floor": 2}}},
        {"create": {**NEW, "custom": {"floor": "2"}}},
        {"id": made["id"], "change": {"custom": {"floor": 3}}},
        {"id": made["id"], "change": {"custom": {"wing": "B"}}},
        {"id": made["id"], "change": {"custom": {"floor": None}}},
    ]
    answer = await ask(standing, acme, "POST", "/api/deals/bulk", json={"items": items})

    assert (answer.status_code, answer.json()["status"]) == (200, "partly")
    results = answer.json()["results"]
    said = [one["error"]["code"] if one["error"] else one["deal"]["custom"] for one in results]
    assert said == [
        *({"floor": 2}, "CUSTOM_VALUES_INVALID", {"floor": 3}, "CUSTOM_VALUES_INVALID", {}),
    ]


async def test_the_audit_trail_says_what_values_were_and_are(
    standing: Any, acme: str, place: Place
) -> None:
    await standing.field(acme, "team")
    made = await standing.deal(acme, custom={"team": "a secret team"})
    await standing.put(acme, made, custom={"team": "y"})
    await standing.put(acme, made, name="Other chairs")
    url = f"/api/deals/{made['id']}"
    assert (await ask(standing, acme, "DELETE", url)).status_code == 204
    back = await ask(standing, acme, "POST", f"{url}/restore")
    await ask(standing, acme, "DELETE", url)
    entries = (await standing.get(acme, "/api/deals/audit", entity_id=made["id"]))["items"][::-1]
    purged = await ask(standing, acme, "POST", f"{url}/purge")

    created, changed, renamed, deleted = entries[:4]
    assert created["after"]["custom"] == {"team": "a secret team"}
    assert changed["before"] == {"custom": {"team": "a secret team"}}
    assert changed["after"] == {"custom": {"team": "y"}}
    assert "custom" not in renamed["after"]
    assert deleted["before"]["custom"] == back.json()["custom"] == {"team": "y"}
    assert purged.status_code == 204
    for table in place.tables(f"tenant_{acme}"):
        query = f"select t::text from tenant_{acme}.{table} as t where t::text like '%secret team%'"
        assert place.rows(query) == [], table


async def test_a_field_that_a_deal_has_a_value_of_stays(standing: Any, acme: str) -> None:
    path = f"{URL}/{(await standing.field(acme, 'team'))['id']}"
    made = await standing.deal(acme, custom={"team": "x"})
    in_use = await ask(standing, acme, "DELETE", path)
    await ask(standing, acme, "DELETE", f"/api/deals/{made['id']}")
    deleted = await ask(standing, acme, "DELETE", path)
    await ask(standing, acme, "POST", f"/api/deals/{made['id']}/restore")
    await standing.put(acme, made, custom={"team": None})
    gone = await ask(standing, acme, "DELETE", path)

    for answer in (in_use, deleted):  # a deleted deal may be restored, with its values
        assert (answer.status_code, answer.json()["code"]) == (409, "CUSTOM_FIELD_IN_USE")
        assert answer.json()["detail"] == "deals have values of it: clear them first"
    assert gone.status_code == 204
    assert (await standing.put(acme, made, custom={"team": "x"})).status_code == 422


@pytest.mark.parametrize("how", ["create", "change", "bulk"])
async def test_a_field_waits_for_whoever_writes_a_value(
    *, standing: Any, acme: str, eventually: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    path = f"{URL}/{(await standing.field(acme, 'team'))['id']}"
    made = await standing.deal(acme)
    checked, go_on = asyncio.Event(), asyncio.Event()
    found = handlers.found

    async def slow(*arguments: Any) -> Any:
        checked.set()
        await go_on.wait()
        return await found(*arguments)

    monkeypatch.setattr(handlers, "found", slow)
    method, url, asked = {
        "create": ("POST", "/api/deals", {**NEW, "custom": {"team": "x"}}),
        "change": ("PATCH", f"/api/deals/{made['id']}", {"custom": {"team": "x"}}),
        "bulk": (
            *("POST", "/api/deals/bulk"),
            {"items": [{"id": made["id"], "change": {"custom": {"team": "x"}}}]},
        ),
    }[how]
    write = asyncio.create_task(ask(standing, acme, method, url, json=asked))
    await checked.wait()
    label = await ask(standing, acme, "PATCH", path, json={"label": "Team"})
    delete = asyncio.create_task(ask(standing, acme, "DELETE", path))
    waits = "select 1 from pg_locks where not granted"
    await eventually(lambda: delete.done() or standing.rows(acme, waits))
    go_on.set()

    assert (await write).is_success
    assert ((await delete).status_code, label.status_code) == (409, 200)


async def test_fields_and_values_of_another_tenant_are_not_there(
    standing: Any, acme: str, other: str
) -> None:
    theirs = await standing.field(other, "secret")
    deal = await standing.deal(other, custom={"secret": "x"})
    answers = [
        await ask(standing, acme, "GET", f"{URL}/{theirs['id']}"),
        await ask(standing, acme, "PATCH", f"{URL}/{theirs['id']}", json={"label": "mine"}),
        await ask(standing, acme, "DELETE", f"{URL}/{theirs['id']}"),
    ]
    written = await ask(
        standing, acme, "POST", "/api/deals", json={**NEW, "custom": {"secret": "x"}}
    )
    asked = await ask(standing, acme, "GET", "/api/deals", params={"custom.secret": "x"})

    assert [one.status_code for one in answers] == [404] * 3
    assert (await standing.get(acme, URL))["items"] == []
    assert (written.status_code, written.json()["code"]) == (422, "CUSTOM_VALUES_INVALID")
    assert (asked.status_code, asked.json()["code"]) == (400, "FILTER_INVALID")
    assert await standing.get(other, f"{URL}/{theirs['id']}") == theirs
    assert await standing.get(other, f"/api/deals/{deal['id']}") == deal


async def test_a_tenant_has_a_hundred_fields_at_most(standing: Any, acme: str) -> None:
    standing.rows(
        acme,
        "insert into deal_custom_fields (id, entity, key, label, type)"
        " select gen_random_uuid(), 'deal', 'k' || n, 'x', 'text' from generate_series(1, 100) n",
    )
    answer = await ask(standing, acme, "POST", URL, json={"key": "x", "label": "x", "type": "text"})
    assert (answer.status_code, answer.json()["code"]) == (409, "CUSTOM_FIELD_LIMIT")


async def test_without_values_nothing_is_asked_of_the_fields(
    standing: Any, acme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await standing.field(acme, "team")
    valued = await standing.deal(acme, custom={"team": "x"})

    async def asked(*_: object) -> Any:
        raise AssertionError("a statement that nobody needs")

    for name in ("of", "hold"):
        monkeypatch.setattr(FieldTable, name, asked)
    made = await standing.deal(acme, custom={})
    for one in (made, valued):
        changed = await standing.put(acme, one, name="Other chairs", stage="proposal")
        assert (changed.status_code, changed.json()["custom"]) == (200, one["custom"])
    bulk = await ask(standing, acme, "POST", "/api/deals/bulk", json={"items": [{"create": NEW}]})
    assert bulk.json()["status"] == "done"
    assert len(await listed(standing, acme)) == 3
