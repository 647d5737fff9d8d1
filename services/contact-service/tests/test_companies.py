from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from contact_service.domain.company import DEEPEST
from contact_service.queries import companies

pytestmark = pytest.mark.anyio
ABSENT = "0b5bb1a4-5c6e-4e6b-9d35-1b1e3a1a7f6c"


async def test_a_company_is_made_told_changed_deleted_and_restored(client: Any) -> None:
    made = await client.company(name="Example", domain="WWW.Example.com", industry="Tools")
    path = f"/api/companies/{made['id']}"
    assert made["domain"] == "www.example.com"
    assert client.told()[0].__dict__ == {"company_id": made["id"], "name": "Example"}
    without = await client.ask("PUT", path, json={"name": "E"})
    put = await client.ask("PUT", path, json={"name": "E"}, headers={"if-match": '"v1"'})
    patched = await client.ask("PATCH", path, json={"industry": "Games"})
    same = await client.ask("PATCH", path, json={"industry": "Games"})
    late = await client.ask("DELETE", path, headers={"if-match": '"v1"'})
    deleted = await client.ask("DELETE", path, headers={"if-match": '"v3"'})
    gone = await client.get(path)
    back = await client.post(f"{path}/restore")
    twice = await client.post(f"{path}/restore")

    assert (without.status_code, put.status_code, patched.status_code) == (428, 200, 200)
    assert (put.json()["domain"], patched.json()["industry"]) == (None, "Games")
    assert same.json()["version"] == 3
    assert (late.status_code, deleted.status_code, gone.status_code) == (412, 204, 404)
    assert (back.status_code, back.json()["version"], twice.status_code) == (200, 5, 409)
    assert (await client.get(path)).json() == back.json()
    audit = await client.listed("/api/contacts/audit", entity="company")
    assert [one["action"].partition(".")[2] for one in audit] == [
        "restored",
        "deleted",
        "updated",
        "updated",
        "created",
    ]


async def test_companies_are_listed_searched_and_filtered(client: Any) -> None:
    parent = await client.company(name="Ünited Example")
    await client.company(name="Other", domain="other.example.com", parent_id=parent["id"])
    for params, names in (
        ({"q": "united"}, ["Ünited Example"]),
        ({"parent_id": parent["id"]}, ["Other"]),
        ({"domain": "OTHER.example.com"}, ["Other"]),
        ({"sort": "name"}, ["Other", "Ünited Example"]),
        ({"sort": "-created_at"}, ["Other", "Ünited Example"]),
        ({"q": "&"}, []),
    ):
        found = await client.listed("/api/companies", limit=1, **params)
        assert [one["name"] for one in found] == names, params


async def test_a_hierarchy_has_no_circle_and_an_end(client: Any) -> None:
    chain = [await client.company(name="c0")]
    for n in range(1, DEEPEST + 1):
        asked = {"name": f"c{n}", "parent_id": chain[-1]["id"]}
        answer = await client.post("/api/companies", json=asked)
        if n == DEEPEST:
            assert (answer.status_code, answer.json()["code"]) == (422, "HIERARCHY_TOO_DEEP")
        else:
            chain.append(answer.json())
    top = f"/api/companies/{chain[0]['id']}"
    for below in (chain[0], chain[1], chain[-1]):
        answer = await client.ask("PATCH", top, json={"parent_id": below["id"]})
        assert (answer.status_code, answer.json()["code"]) == (422, "HIERARCHY_CYCLE")
    unknown = await client.ask("PATCH", top, json={"parent_id": ABSENT})
    assert (unknown.status_code, unknown.json()["code"]) == (422, "COMPANY_UNKNOWN")
    tree = (await client.get(f"/api/companies/{chain[2]['id']}/tree")).json()
    assert [(one["name"], one["depth"]) for one in tree["items"]] == [
        (f"c{n + 2}", n) for n in range(DEEPEST - 2)
    ]
    assert tree["complete"]
    assert (await client.get(f"/api/companies/{ABSENT}/tree")).status_code == 404


async def chain_of(client: Any, name: str, length: int) -> list[Any]:
    """Make companies each of which belongs to the one before it."""
    made: list[Any] = []
    for n in range(length):
        above = {"parent_id": made[-1]["id"]} if made else {}
        made.append(await client.company(name=f"{name}{n}", **above))
    return made


async def test_what_moves_takes_its_depth_along(client: Any) -> None:
    above, below = await chain_of(client, "a", 30), await chain_of(client, "b", 21)
    await client.company(name="beside", parent_id=below[0]["id"])
    top = f"/api/companies/{below[0]['id']}"

    async def under(parent: Any) -> Any:
        return await client.ask("PATCH", top, json={"parent_id": parent["id"]})

    too_deep = await under(above[29])
    fits = await under(above[28])
    assert (too_deep.status_code, too_deep.json()["code"]) == (422, "HIERARCHY_TOO_DEEP")
    assert fits.status_code == 200


async def test_what_was_deleted_comes_back_within_the_depth(client: Any) -> None:
    above, below = await chain_of(client, "a", 30), await chain_of(client, "b", 21)
    last = f"/api/companies/{below[-1]['id']}"
    await client.ask("DELETE", last)
    asked = {"parent_id": above[-1]["id"]}
    moved = await client.ask("PATCH", f"/api/companies/{below[0]['id']}", json=asked)
    assert (moved.status_code, moved.json()["code"]) == (422, "HIERARCHY_TOO_DEEP")
    assert (await client.post(f"{last}/restore")).json()["parent_id"] == below[-2]["id"]


async def test_moves_at_the_same_time_stay_within_the_depth(client: Any) -> None:
    parts = [await chain_of(client, name, 20) for name in ("a", "b", "c")]

    async def under(part: int, other: int) -> int:
        path = f"/api/companies/{parts[part][0]['id']}"
        asked = {"parent_id": parts[other][-1]["id"]}
        return int((await client.ask("PATCH", path, json=asked)).status_code)

    assert sorted(await asyncio.gather(under(1, 0), under(2, 1))) == [200, 422]


async def test_moves_at_the_same_time_make_no_circle(client: Any) -> None:
    six = [await client.company(name=f"c{n}") for n in range(6)]

    async def under(child: int, parent: int) -> int:
        path = f"/api/companies/{six[child]['id']}"
        asked = {"parent_id": six[parent]["id"]}
        return int((await client.ask("PATCH", path, json=asked)).status_code)

    done = await asyncio.gather(*(under(n, (n + 1) % 6) for n in range(6)))
    assert sorted(done) == [200] * 5 + [422]


async def test_contacts_work_at_a_company_that_is_there_and_keep_it_from_going(client: Any) -> None:
    company = await client.company()
    ada = await client.contact(first_name="Ada")
    place = f"/api/companies/{company['id']}/contacts/{ada['id']}"
    here = await client.ask("PUT", place)
    in_use = await client.ask("DELETE", f"/api/companies/{company['id']}")
    listed = await client.contacts(company_id=company["id"])
    nowhere = await client.ask("PUT", f"/api/companies/{ABSENT}/contacts/{ada['id']}")
    nobody = await client.ask("PUT", f"/api/companies/{company['id']}/contacts/{ABSENT}")
    left = await client.ask("DELETE", place)
    again = await client.ask("DELETE", place)
    deleted = await client.ask("DELETE", f"/api/companies/{company['id']}")
    late = await client.post("/api/contacts", json={"first_name": "x", "company_id": company["id"]})

    assert here.json()["company_id"] == company["id"]
    assert (in_use.status_code, in_use.json()["code"]) == (409, "COMPANY_IN_USE")
    assert [one["id"] for one in listed] == [ada["id"]]
    assert (nowhere.json()["code"], nobody.json()["code"]) == (
        "COMPANY_NOT_FOUND",
        "CONTACT_NOT_FOUND",
    )
    assert (left.status_code, again.status_code, deleted.status_code) == (204, 404, 204)
    assert (late.status_code, late.json()["code"]) == (422, "COMPANY_UNKNOWN")


async def test_what_comes_back_belongs_to_nothing_that_is_gone(client: Any) -> None:
    parent = await client.company(name="parent")
    child = await client.company(name="child", parent_id=parent["id"])
    ada = await client.contact(first_name="Ada", company_id=child["id"])
    for path in (f"contacts/{ada['id']}", f"companies/{child['id']}", f"companies/{parent['id']}"):
        assert (await client.ask("DELETE", f"/api/{path}")).status_code == 204
    contact = await client.post(f"/api/contacts/{ada['id']}/restore")
    company = await client.post(f"/api/companies/{child['id']}/restore")
    assert (contact.json()["company_id"], company.json()["parent_id"]) == (None, None)


async def test_custom_fields_are_typed_and_go_when_nothing_has_a_value(client: Any) -> None:
    wrong = {"entity": "contact", "key": "c", "label": "C"}
    for more in (
        {"type": "choice"},
        {"type": "text", "choices": ["a"]},
        {"type": "choice", "choices": ["a", "a"]},
    ):
        answer = await client.post("/api/custom-fields", json={**wrong, **more})
        assert (answer.status_code, answer.json()["code"]) == (422, "CHOICES_INVALID")
    size = await client.field("size", "choice", choices=["S", "M"])
    for key, of in (("n", "number"), ("b", "boolean"), ("d", "date"), ("t", "text")):
        await client.field(key, of)
    twice = await client.post("/api/custom-fields", json={**wrong, "key": "n", "type": "text"})
    assert (twice.status_code, twice.json()["code"]) == (409, "CUSTOM_FIELD_TAKEN")
    good = {"size": "S", "n": 1.5, "b": False, "d": "2024-02-29", "t": "x"}
    ada = await client.contact(first_name="Ada", custom=good)
    assert ada["custom"] == good
    for key, value in (
        *(("size", "L"), ("n", "1"), ("n", True), ("b", 0), ("b", "true")),
        *(("d", "2023-02-29"), ("d", "20240229"), ("t", 1), ("other", "x")),
    ):
        answer = await client.post(
            "/api/contacts", json={"first_name": "x", "custom": {key: value}}
        )
        assert (answer.status_code, answer.json()["code"]) == (422, "CUSTOM_VALUES_INVALID")
        assert answer.json()["errors"][0]["pointer"] == f"#/custom/{key}"

    path = f"/api/custom-fields/{size['id']}"
    in_use = await client.ask("DELETE", path)
    other = await client.ask("PATCH", path, json={"label": "Size", "choices": ["M"]})
    person = f"/api/contacts/{ada['id']}"
    for same in ({"b": 0}, {"b": 0, "n": 2}):  # which false equals
        answer = await client.ask("PATCH", person, json={"custom": same})
        assert (answer.status_code, answer.json()["code"]) == (422, "CUSTOM_VALUES_INVALID")
    kept = await client.ask("PATCH", person, json={"custom": {"n": 2}})
    cleared = await client.ask("PATCH", person, json={"custom": {"size": None}})
    stale = await client.ask("DELETE", path, headers={"if-match": size["id"].join('""')})
    deleted = await client.ask("DELETE", path)
    assert (in_use.status_code, in_use.json()["code"]) == (409, "CUSTOM_FIELD_IN_USE")
    assert (other.json()["label"], other.json()["version"]) == ("Size", 2)
    assert kept.json()["custom"]["size"] == "S"  # it was a choice when it was chosen
    assert "size" not in cleared.json()["custom"]
    assert (stale.status_code, deleted.status_code) == (412, 204)
    assert (await client.get(path)).status_code == 404
    keys = [one["key"] for one in (await client.get("/api/custom-fields")).json()["items"]]
    assert keys == ["b", "d", "n", "t"]


async def test_a_field_goes_though_contacts_that_were_merged_away_had_values(client: Any) -> None:
    team = await client.field("team")
    kept = await client.contact(first_name="kept", custom={"team": "x"})
    gone = await client.contact(first_name="gone", custom={"team": "y"})
    path, field = f"/api/contacts/{kept['id']}", f"/api/custom-fields/{team['id']}"
    merged = await client.post(f"{path}/merge", json={"contact_ids": [gone["id"]]})
    assert merged.status_code == 200, merged.text
    in_use = await client.ask("DELETE", field)
    await client.ask("PATCH", path, json={"custom": {"team": None}})
    deleted = await client.ask("DELETE", field)
    assert (in_use.status_code, deleted.status_code) == (409, 204), deleted.text
    await client.field("team", "number")
    (seen,) = await client.contacts(deleted=True)
    assert seen["custom"] == {}


@pytest.mark.parametrize(
    ("entity", "path", "asked"),
    [
        ("contact", "/api/contacts", {"first_name": "x", "company_id": "{company}"}),
        ("contact", "/api/contacts/bulk", {"first_name": "x", "company_id": "{company}"}),
        ("company", "/api/companies", {"name": "x", "parent_id": "{company}"}),
    ],
)
async def test_a_field_waits_for_whoever_writes_a_value(
    *,
    client: Any,
    eventually: Any,
    monkeypatch: pytest.MonkeyPatch,
    entity: str,
    path: str,
    asked: dict[str, str],
) -> None:
    field = await client.field("size", entity=entity)
    company = (await client.company())["id"]
    one = {name: text.replace("{company}", company) for name, text in asked.items()}
    body: dict[str, Any] = {**one, "custom": {"size": "S"}}
    checked, go_on = asyncio.Event(), asyncio.Event()
    hold = companies.hold

    async def slow(*arguments: Any) -> set[UUID]:
        checked.set()
        await go_on.wait()
        return await hold(*arguments)

    monkeypatch.setattr(companies, "hold", slow)
    wanted = {"contacts": [body]} if path.endswith("bulk") else body
    write = asyncio.create_task(client.post(path, json=wanted))
    await checked.wait()
    label = await client.ask("PATCH", f"/api/custom-fields/{field['id']}", json={"label": "Size"})
    delete = asyncio.create_task(client.ask("DELETE", f"/api/custom-fields/{field['id']}"))
    waits = "select 1 from pg_locks where not granted"
    await eventually(lambda: delete.done() or client.rows(waits))
    go_on.set()

    assert (await write).is_success
    assert ((await delete).status_code, label.status_code) == (409, 200)


async def test_a_company_has_fields_of_its_own(client: Any) -> None:
    await client.field("size", "number", entity="company")
    company = await client.company(custom={"size": 5})
    assert company["custom"] == {"size": 5}
    listed = await client.get("/api/companies", params={"custom.size": "5"})
    assert [one["id"] for one in listed.json()["items"]] == [company["id"]]
    refused = await client.post("/api/contacts", json={"first_name": "x", "custom": {"size": 5}})
    assert refused.status_code == 422


async def test_a_tenant_has_a_hundred_custom_fields_at_most(client: Any) -> None:
    client.rows(
        "insert into {t}.custom_fields (id, entity, key, label, type)"
        " select gen_random_uuid(), 'contact', 'k' || n, 'x', 'text' from generate_series(1, 100) n"
    )
    asked = {"entity": "contact", "key": "x", "label": "x", "type": "text"}
    answer = await client.post("/api/custom-fields", json=asked)
    assert (answer.status_code, answer.json()["code"]) == (409, "CUSTOM_FIELD_LIMIT")


async def test_many_contacts_are_made_and_changed_at_once(client: Any) -> None:
    await client.field("team")
    ada = await client.contact(first_name="Ada", email="ada@example.com", phone="1")
    contacts = [
        {"email": "ADA@example.com", "job_title": "Analyst", "custom": {"team": "x"}},
        {"id": ada["id"], "last_name": "Lovelace"},
        {"first_name": "Grace", "email": "grace@example.com"},
        {"phone": "7"},
        {"first_name": "x", "custom": {"shoe": 1}, "company_id": ABSENT, "owner_id": "nobody"},
        {"email": "grace@example.com", "first_name": "Grace"},
    ]
    headers = {"idempotency-key": "bulk"}
    answer = await client.post("/api/contacts/bulk", json={"contacts": contacts}, headers=headers)
    replay = await client.post("/api/contacts/bulk", json={"contacts": contacts}, headers=headers)

    results = answer.json()["results"]
    assert answer.status_code == 200, answer.text
    assert [one["status"] for one in results] == [
        *("updated", "updated", "created", "invalid", "invalid", "skipped")
    ]
    assert [one["code"] for one in results[3]["errors"]] == ["nameless"]
    assert [one["field"] for one in results[4]["errors"]] == [
        "custom.shoe",
        "owner_id",
        "company_id",
    ]
    assert replay.json() == answer.json()
    assert replay.headers["idempotent-replayed"] == "true"
    seen = (await client.get(f"/api/contacts/{ada['id']}")).json()
    assert (seen["name"], seen["job_title"], seen["phone"]) == ("Ada Lovelace", "Analyst", "1")
    assert [type(told).__name__ for told in client.told()] == [
        *("ContactCreated", "ContactCreated", "ContactUpdated")
    ]
    refused = {"contacts": contacts[:1], "on_duplicate": "error"}
    again = await client.post("/api/contacts/bulk", json=refused)
    assert again.json()["results"][0]["errors"][0]["code"] == "duplicate"


async def test_bulks_of_the_same_people_at_the_same_time_make_each_once(client: Any) -> None:
    contacts = [{"first_name": f"n{n}", "email": f"p{n}@example.com"} for n in range(40)]
    some = [{"contacts": contacts[start:] + contacts[:start]} for start in (0, 10, 20, 30)]
    answers = await asyncio.gather(*(client.post("/api/contacts/bulk", json=one) for one in some))
    done = [one for one in answers if one.status_code == 200]
    assert done
    assert all(one.status_code == 200 or one.json()["retryable"] for one in answers)
    assert client.rows("select count(*) from {t}.contacts") == [(40,)]
    assert len(client.told("ContactCreated")) >= 40
