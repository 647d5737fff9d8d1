"""Many contacts at a time, one beside the other: each is judged by what comes out of it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

pytestmark = pytest.mark.anyio


async def bulk(client: Any, *contacts: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    """Send contacts, and return what became of each."""
    asked = {"contacts": contacts, **options}
    answer = await client.post("/api/contacts/bulk", json=asked)
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


def statuses(results: list[dict[str, Any]]) -> list[str]:
    return [one["status"] for one in results]


async def addresses(client: Any) -> dict[str, str | None]:
    return {one["first_name"]: one["email"] for one in await client.contacts()}


async def test_what_is_changed_by_its_id_needs_no_name_in_the_request(client: Any) -> None:
    ada = await client.contact(first_name="Ada", phone="1")
    (done,) = await bulk(client, {"id": ada["id"], "phone": "7"})
    text = f"id,first_name,phone\n{ada['id']},,8\n{uuid4()},,9\n"
    dry = (await client.upload(text.encode(), on_duplicate="update", dry_run=True)).json()
    real = await client.upload(text.encode(), on_duplicate="update")
    errors = (await client.get(f"{real.headers['location']}/errors")).json()["items"]

    assert (done["status"], done["contact_id"]) == ("updated", ada["id"])
    for said in (dry, real.json()):
        assert (said["updated"], said["invalid"]) == (1, 1)
    assert [(one["line"], one["code"]) for one in errors] == [(3, "nameless")]
    (seen,) = await client.contacts()
    assert (seen["first_name"], seen["phone"]) == ("Ada", "8")


async def test_nobody_loses_both_name_and_address(client: Any) -> None:
    one = await client.contact(email="one@example.com")
    two = await client.contact(first_name="Two")
    results = await bulk(
        client,
        {"id": one["id"], "email": None},
        {"id": two["id"], "first_name": ""},
        {"id": str(uuid4()), "phone": "7"},
        {"phone": "7", "custom": {"shoe": 1}},
        {"id": one["id"], "email": None, "first_name": "One"},
    )
    assert statuses(results) == [*["invalid"] * 4, "updated"]
    codes = [[error["code"] for error in result["errors"]] for result in results[:4]]
    assert codes == [*[["nameless"]] * 3, ["nameless", "custom_field"]]


async def test_an_address_is_passed_on_within_a_batch(client: Any) -> None:
    older = await client.contact(first_name="older", email="a@example.com")
    newer = await client.contact(first_name="newer", email="b@example.com")
    results = await bulk(
        client,
        {"id": newer["id"], "email": "c@example.com"},
        {"id": older["id"], "email": "b@example.com"},
        {"first_name": "third", "email": "a@example.com"},
    )
    assert statuses(results) == ["updated", "updated", "created"]
    assert await addresses(client) == {
        "older": "b@example.com",
        "newer": "c@example.com",
        "third": "a@example.com",
    }
    seen = (await client.get(f"/api/contacts/{older['id']}")).json()
    assert seen["version"] == older["version"] + 1


async def test_contacts_without_names_change_places_by_a_third_address(client: Any) -> None:
    one = await client.contact(email="a@example.com")
    two = await client.contact(email="b@example.com")
    text = (
        "id,email\n"
        f"{two['id']},c@example.com\n"
        f"{one['id']},b@example.com\n"
        f"{two['id']},a@example.com\n"
    )
    done = (await client.upload(text.encode(), on_duplicate="update")).json()
    assert (done["updated"], done["invalid"]) == (3, 0)
    seen = {one["id"]: one["email"] for one in await client.contacts()}
    assert seen == {one["id"]: "b@example.com", two["id"]: "a@example.com"}


async def test_an_address_that_is_not_free_at_its_turn_refuses_that_contact_alone(
    client: Any,
) -> None:
    one = await client.contact(first_name="one", email="a@example.com")
    two = await client.contact(first_name="two", email="b@example.com")
    results = await bulk(
        client,
        {"id": one["id"], "email": "b@example.com"},
        {"id": two["id"], "email": "a@example.com"},
        {"first_name": "three"},
    )
    assert statuses(results) == ["invalid", "invalid", "created"]
    assert {error["code"] for result in results for error in result["errors"]} == {"email_taken"}


async def test_null_takes_a_custom_value_away(client: Any) -> None:
    await client.field("team")
    await client.field("floor", "number")
    ada = await client.contact(custom={"team": "x", "floor": 3})
    results = await bulk(
        client,
        {"id": ada["id"], "custom": {"team": None}},
        {"id": ada["id"], "custom": {"team": None}},
        {"first_name": "new", "custom": {"team": None}},
    )
    assert statuses(results) == ["updated", "skipped", "created"]
    seen = {one["first_name"]: one["custom"] for one in await client.contacts()}
    assert seen == {"Ada": {"floor": 3}, "new": {}}
