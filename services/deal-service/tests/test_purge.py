"""What is purged is gone, and what was noted of it; that it was there, and who removed it, is known."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from mtenant_chassis.testing import Place

pytestmark = pytest.mark.anyio


async def test_nothing_is_left_of_a_purged_deal_but_who_did_it(
    standing: Any, acme: str, place: Place
) -> None:
    contact = standing.neighbours.contact(acme)
    kept = await standing.deal(acme, name="A table")
    made = await standing.deal(acme, name="A secret chair", contact_ids=[contact])
    await standing.put(acme, made, stage="closed_won")
    admin, url = standing.bearer(acme, "admin"), f"/api/deals/{made['id']}"
    early = await standing.http.post(f"{url}/purge", headers=admin)
    await standing.http.delete(url, headers=admin)
    refused = await standing.http.post(f"{url}/purge", headers=standing.bearer(acme, "manager"))
    purged = await standing.http.post(f"{url}/purge", headers=admin)
    again = await standing.http.post(f"{url}/purge", headers=admin)
    back = await standing.http.post(f"{url}/restore", headers=admin)
    unknown = await standing.http.post(f"/api/deals/{uuid4()}/purge", headers=admin)

    assert purged.status_code == 204, purged.text
    assert (early.status_code, refused.status_code) == (404, 403)
    assert (again.status_code, back.status_code, unknown.status_code) == (404, 404, 404)
    tables = place.rows(
        f"select table_name from information_schema.tables where table_schema = 'tenant_{acme}'"
    )
    for (name,) in tables:
        table = f"tenant_{acme}.{name}"
        left = place.rows(f"select t::text from {table} as t where t::text like '%secret chair%'")
        assert left == [], name
    for name in ("deal_visits", "deal_contacts"):
        where = f"tenant_{acme}.{name} where deal_id = '{made['id']}'"
        assert place.rows(f"select count(*) from {where}") == [(0,)]
    entries = (await standing.get(acme, "/api/deals/audit", entity_id=made["id"]))["items"]
    said = [(one["action"], one["before"], one["after"]) for one in entries]
    actions = ["purged", "deleted", "moved", "created"]
    assert said == [(f"deal.{action}", None, None) for action in actions]
    listed = await standing.get(acme, "/api/deals")
    assert [one["id"] for one in listed["items"]] == [kept["id"]]
