"""What is purged is gone, and what was noted of it; that it was there, and who removed it, is known."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

pytestmark = pytest.mark.anyio

ADDRESS = "ada.lovelace@example.com"


def tables_with(client: Any, text: str) -> set[str]:
    """Return the tables of the client's tenant in which a text stands anywhere."""
    schema = f"tenant_{client.tenant}"
    names = client.place.rows(
        f"select table_name from information_schema.tables where table_schema = '{schema}'"
    )
    return {
        name
        for (name,) in names
        if client.place.rows(
            f"select exists (select from {schema}.{name} as t where t::text like '%{text}%')"
        )
        == [(True,)]
    }


async def test_nothing_is_left_of_what_was_purged_but_who_did_it(client: Any) -> None:
    other = await client.contact(first_name="Grace", email="grace@example.com")
    ada = await client.contact(first_name="Ada", email=ADDRESS)
    path = f"/api/contacts/{ada['id']}"
    await client.ask("PATCH", path, json={"job_title": "Analyst"})
    await client.ask("DELETE", path)
    assert tables_with(client, ADDRESS) == {"contacts", "audit_entries"}

    purged = await client.post(f"{path}/purge")
    again = await client.post(f"{path}/purge")
    back = await client.post(f"{path}/restore")

    assert purged.status_code == 204, purged.text
    assert (again.status_code, back.status_code) == (404, 404)
    assert tables_with(client, ADDRESS) == tables_with(client, "Analyst") == set()
    entries = (await client.get(f"/api/contacts/audit?entity_id={ada['id']}")).json()["items"]
    assert [one["action"] for one in entries] == [
        f"contact.{what}" for what in ("purged", "deleted", "updated", "created")
    ]
    assert {(one["before"], one["after"]) for one in entries} == {(None, None)}
    (kept,) = (await client.get(f"/api/contacts/audit?entity_id={other['id']}")).json()["items"]
    assert kept["after"]["email"] == "grace@example.com"
    assert (await client.contact(email=ADDRESS))["id"] != ada["id"]


async def test_those_that_became_part_of_it_are_purged_with_it(client: Any) -> None:
    first, second, third = [await client.contact(first_name=f"Ada{n}") for n in range(3)]
    for into, one in ((second, third), (first, second)):
        path = f"/api/contacts/{into['id']}"
        merged = await client.post(f"{path}/merge", json={"contact_ids": [one["id"]]})
        assert merged.status_code == 200, merged.text
    await client.ask("DELETE", f"/api/contacts/{first['id']}")
    assert (await client.post(f"/api/contacts/{first['id']}/purge")).status_code == 204
    assert tables_with(client, "Ada") == set()
    assert await client.contacts(deleted=True) == []


async def test_one_that_became_part_of_another_is_purged_alone(client: Any) -> None:
    first, second = await client.contact(first_name="Ada"), await client.contact(first_name="Eda")
    path = f"/api/contacts/{first['id']}"
    await client.post(f"{path}/merge", json={"contact_ids": [second["id"]]})
    assert (await client.post(f"/api/contacts/{second['id']}/purge")).status_code == 204
    assert tables_with(client, "Eda") == set()
    assert (await client.get(path)).status_code == 200


async def test_only_what_is_deleted_is_purged_and_only_by_those_who_manage(client: Any) -> None:
    ada = await client.contact()
    path = f"/api/contacts/{ada['id']}"
    early = await client.post(f"{path}/purge")
    assert (early.status_code, early.json()["code"]) == (409, "CONTACT_NOT_DELETED")
    await client.ask("DELETE", path)
    refused = await client.of(role="manager").post(f"{path}/purge")
    unknown = await client.post(f"/api/contacts/{uuid4()}/purge")
    assert (refused.status_code, unknown.status_code) == (403, 404)
    assert (await client.of(role="admin").post(f"{path}/purge")).status_code == 204
