from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytestmark = pytest.mark.anyio

ADA = {
    "first_name": "Ada",
    "last_name": "Lovelace",
    "email": "Ada@Example.com",
    "phone": "+44 20 7946 0000",
    "job_title": "Analyst",
    "status": "active",
}


async def test_a_contact_is_made_told_and_noted(client: Any) -> None:
    answer = await client.post("/api/contacts", json=ADA)

    made = answer.json()
    assert answer.status_code == 201, answer.text
    assert answer.headers["etag"] == '"v1"'
    assert made["name"] == "Ada Lovelace"
    assert made["email"] == "ada@example.com"
    assert (await client.get(answer.headers["location"])).json() == made
    (told,) = client.told()
    assert type(told).__name__ == "ContactCreated"
    assert told.__dict__ == {
        "contact_id": made["id"],
        "email": "ada@example.com",
        "name": "Ada Lovelace",
        "owner_id": None,
        "version": 1,
    }
    (entry,) = (await client.get("/api/contacts/audit")).json()["items"]
    assert (entry["action"], entry["entity_id"]) == ("contact.created", made["id"])
    assert entry["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    "fields",
    [
        {"first_name": 7},
        {"first_name": "a\x00b"},
        {"first_name": "two\nlines"},
        {"first_name": "x" * 201},
        {"email": "no address"},
        {"first_name": "a", "status": "friend"},
        {"first_name": "a", "company_id": "7"},
        {"first_name": "a", "nickname": "b"},
        {"first_name": "a", "custom": {"Not A Key": 1}},
        {"first_name": "a", "custom": {"key": [1]}},
    ],
)
async def test_what_does_not_fit_the_schema_is_a_bad_request(
    client: Any, fields: dict[str, Any]
) -> None:
    answer = await client.post("/api/contacts", json=fields)
    assert (answer.status_code, answer.json()["code"]) == (400, "VALIDATION_FAILED")


async def test_nobody_can_be_a_contact_without_a_name_and_an_address(client: Any) -> None:
    answer = await client.post("/api/contacts", json={"phone": "1"})
    assert (answer.status_code, answer.json()["code"]) == (422, "CONTACT_NAMELESS")


async def test_the_same_address_phone_or_name_at_a_company_is_refused_with_candidates(
    client: Any,
) -> None:
    company = await client.company()
    ada = await client.contact(**ADA, company_id=company["id"])
    twins = {
        "duplicate_email": {"first_name": "A", "email": "ADA@example.com"},
        "duplicate_phone": {"first_name": "B", "phone": "+44 (20) 79460000"},
        "duplicate_name": {
            "first_name": "ada",
            "last_name": "LOVELACE",
            "company_id": company["id"],
        },
    }
    for kind, twin in twins.items():
        answer = await client.post("/api/contacts", json=twin)
        assert (answer.status_code, answer.json()["code"]) == (409, "CONTACT_DUPLICATE")
        (candidate,) = answer.json()["errors"]
        assert (candidate["type"], candidate["contact_id"]) == (kind, ada["id"])
        found = await client.get("/api/contacts/duplicates", params=twin)
        assert [(one["contact"]["id"], one["why"]) for one in found.json()["items"]] == [
            (ada["id"], kind.removeprefix("duplicate_"))
        ]
    allowed = {"allow_duplicates": True}
    again = await client.post("/api/contacts", json=twins["duplicate_phone"], params=allowed)
    never = await client.post("/api/contacts", json=twins["duplicate_email"], params=allowed)
    assert (again.status_code, never.status_code) == (201, 409)


async def test_who_has_no_name_is_not_taken_for_another_without_one(client: Any) -> None:
    company = await client.company()
    await client.contact(email="a@example.com", company_id=company["id"])
    second = {"email": "b@example.com", "company_id": company["id"]}
    found = await client.get("/api/contacts/duplicates", params=second)
    answer = await client.post("/api/contacts", json=second)
    assert found.json()["items"] == []
    assert answer.status_code == 201, answer.text


async def test_a_put_needs_the_version_that_was_read_and_replaces_everything(client: Any) -> None:
    ada = await client.contact(**ADA)
    path = f"/api/contacts/{ada['id']}"
    without = await client.ask("PUT", path, json={"first_name": "Augusta"})
    wrong = await client.ask(
        "PUT", path, json={"first_name": "Augusta"}, headers={"if-match": '"v7"'}
    )
    done = await client.ask(
        "PUT", path, json={"first_name": "Augusta"}, headers={"if-match": '"v1"'}
    )

    assert (without.status_code, wrong.status_code, done.status_code) == (428, 412, 200)
    assert done.headers["etag"] == '"v2"'
    assert (done.json()["first_name"], done.json()["last_name"]) == ("Augusta", "")
    assert (done.json()["email"], done.json()["status"]) == (None, "lead")
    assert (await client.get(path)).json() == done.json()
    assert client.told("ContactUpdated")[0].version == 2


async def test_a_merge_patch_changes_what_it_names_and_null_takes_away(client: Any) -> None:
    await client.field("floor", "number")
    await client.field("team")
    ada = await client.contact(**ADA, custom={"floor": 3, "team": "a"})
    path = f"/api/contacts/{ada['id']}"
    patch = {"phone": None, "job_title": "Countess", "custom": {"floor": None}}
    done = await client.ask(
        "PATCH", path, json=patch, headers={"content-type": "application/merge-patch+json"}
    )
    same = await client.ask("PATCH", path, json={"job_title": "Countess"})

    expected = {**ada, "phone": None, "job_title": "Countess", "custom": {"team": "a"}}
    seen = done.json()
    assert {**seen, "updated_at": ""} == {**expected, "version": 2, "updated_at": ""}
    assert same.json()["version"] == 2  # nothing was changed
    assert len(client.told("ContactUpdated")) == 1
    entry = (await client.get("/api/contacts/audit")).json()["items"][0]
    assert entry["before"]["job_title"] == "Analyst"
    assert "last_name" not in entry["after"]


async def test_what_was_deleted_is_gone_and_can_come_back(client: Any) -> None:
    ada = await client.contact(**ADA)
    path = f"/api/contacts/{ada['id']}"
    early = await client.post(f"{path}/restore")
    await client.get(path)
    deleted = await client.ask("DELETE", path, headers={"if-match": '"v1"'})
    gone = await client.get(path)
    again = await client.ask("DELETE", path)
    assert (early.status_code, deleted.status_code) == (409, 204)
    assert (gone.status_code, again.status_code) == (404, 404)
    assert await client.contacts() == []
    assert [one["id"] for one in await client.contacts(deleted=True)] == [ada["id"]]
    assert client.told("ContactDeleted")[0].merged_into is None

    twin = await client.contact(first_name="Twin", email=ADA["email"])
    refused = await client.post(f"{path}/restore")
    assert (refused.status_code, refused.json()["code"]) == (409, "CONTACT_DUPLICATE")
    await client.ask("PATCH", f"/api/contacts/{twin['id']}", json={"email": None})
    back = await client.post(f"{path}/restore")
    assert (back.status_code, back.json()["version"]) == (200, 3)
    assert (await client.get(path)).json() == back.json()


async def test_merging_fills_what_is_missing_and_deletes_the_others(client: Any) -> None:
    await client.field("team")
    one = await client.contact(first_name="Ada", phone="1")
    two = await client.contact(last_name="Lovelace", email="ada@example.com", phone="2")
    three = await client.contact(email="countess@example.com", custom={"team": "x"})
    path = f"/api/contacts/{one['id']}"
    asked = {"contact_ids": [two["id"], three["id"]]}
    for wrong in ([one["id"]], [two["id"], two["id"]], ["0b5bb1a4-5c6e-4e6b-9d35-1b1e3a1a7f6c"]):
        refused = await client.post(f"{path}/merge", json={"contact_ids": wrong})
        assert (refused.status_code, refused.json()["code"]) == (422, "MERGE_INVALID")
    merged = await client.post(f"{path}/merge", json=asked)

    assert merged.status_code == 200, merged.text
    seen = merged.json()
    assert (seen["name"], seen["email"], seen["phone"]) == ("Ada Lovelace", "ada@example.com", "1")
    assert seen["custom"] == {"team": "x"}
    assert (await client.get(f"/api/contacts/{two['id']}")).status_code == 404
    assert {told.merged_into for told in client.told("ContactDeleted")} == {one["id"]}
    back = await client.post(f"/api/contacts/{two['id']}/restore")
    assert (back.status_code, back.json()["code"]) == (409, "CONTACT_MERGED")


async def test_an_owner_is_a_user_who_is_there(client: Any) -> None:
    active, disabled = client.auth.user(), client.auth.user("disabled")
    mine = await client.contact(first_name="a", owner_id="u1")
    assert mine["owner_id"] == "u1"  # the caller; nobody is asked
    assert (await client.contact(first_name="b", owner_id=active))["owner_id"] == active
    for owner in (disabled, "somebody", "0b5bb1a4-5c6e-4e6b-9d35-1b1e3a1a7f6c"):
        answer = await client.post("/api/contacts", json={"first_name": "c", "owner_id": owner})
        assert (answer.status_code, answer.json()["code"]) == (422, "OWNER_UNKNOWN")
    client.auth.failure = 500
    answer = await client.post(
        "/api/contacts", json={"first_name": "c", "owner_id": client.auth.user()}
    )
    assert answer.status_code in {502, 503}


async def test_equal_posts_with_one_key_make_one_contact_and_one_event(client: Any) -> None:
    headers = {"idempotency-key": "a-key"}
    asked = [
        client.post("/api/contacts", json={"first_name": "Grace"}, headers=headers)
        for _ in range(20)
    ]
    answers = await asyncio.gather(*asked)
    last = await client.post("/api/contacts", json={"first_name": "Grace"}, headers=headers)

    assert {one.status_code for one in answers} <= {201, 409}
    made = {one.json()["id"] for one in [*answers, last] if one.status_code == 201}
    assert len(made) == 1
    assert client.rows("select count(*) from {t}.contacts") == [(1,)]
    assert len(client.told("ContactCreated")) == 1


async def test_twenty_writers_lose_no_update(client: Any) -> None:
    await client.field("count", "number")
    ada = await client.contact(first_name="Ada", custom={"count": 0})
    path = f"/api/contacts/{ada['id']}"

    async def add() -> None:
        while True:
            read = await client.get(path)
            said = read.json()
            fields = {"first_name": "Ada", "custom": {"count": said["custom"]["count"] + 1}}
            headers = {"if-match": read.headers["etag"]}
            done = await client.ask("PUT", path, json=fields, headers=headers)
            if done.status_code == 200:
                return
            assert done.status_code == 412, done.text

    await asyncio.gather(*(add() for _ in range(20)))
    last = (await client.get(path)).json()
    assert (last["custom"]["count"], last["version"]) == (20, 21)
    assert [told.version for told in client.told("ContactUpdated")] == list(range(2, 22))


async def test_twenty_posts_of_one_address_make_one_contact(client: Any) -> None:
    asked = [
        client.post("/api/contacts", json={"first_name": f"n{n}", "email": "one@example.com"})
        for n in range(20)
    ]
    answers = await asyncio.gather(*asked)
    assert sorted(one.status_code for one in answers) == [201] + [409] * 19
    assert len(client.told("ContactCreated")) == 1
