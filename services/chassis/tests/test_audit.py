from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from mtenant_chassis import AuditTrail, audit_router
from mtenant_chassis.audit import Done
from mtenant_chassis.testing import Issuer, Place, running
from mtenant_database import Transaction
from mtenant_errors import AppError

pytestmark = pytest.mark.anyio
PATH = "/api/notes-audit"


async def test_a_change_and_its_entry_are_one(
    notes_app: Any, place: Place, issuer: Issuer, acme: str
) -> None:
    async with running(notes_app(more=[audit_router(PATH)])) as client:
        member, admin = issuer.bearer(acme, "member"), issuer.bearer(acme, "admin", user="u2")
        made = await client.post("/api/notes", headers=member, json={"title": "a"})
        refused = await client.post("/api/notes", headers=member, json={"title": "forbidden"})
        listed = await client.get(PATH, headers=admin)

    assert (made.status_code, refused.status_code) == (201, 422)
    (entry,) = listed.json()["items"]
    assert entry["actor"] == "user:u1"
    assert entry["action"] == "note.created"
    assert (entry["entity"], entry["entity_id"]) == ("note", made.json()["id"])
    assert (entry["before"], entry["after"]) == (None, {"title": "a"})
    assert entry["request_id"] == made.headers["x-request-id"]


async def test_the_trail_is_for_administrators_of_the_tenant(
    notes_app: Any, issuer: Issuer, acme: str, other: str
) -> None:
    async with running(notes_app(more=[audit_router(PATH)])) as client:
        await client.post("/api/notes", headers=issuer.bearer(acme, "member"), json={"title": "a"})
        answers = {
            role: (await client.get(PATH, headers=issuer.bearer(acme, role))).status_code
            for role in ("viewer", "member", "manager", "admin", "owner")
        }
        foreign = await client.get(PATH, headers=issuer.bearer(other, "owner"))

    assert answers == {"viewer": 403, "member": 403, "manager": 403, "admin": 200, "owner": 200}
    assert foreign.json()["items"] == []


async def test_a_service_lists_its_own_entries_page_by_page(
    notes_app: Any, issuer: Issuer, acme: str
) -> None:
    note, pen = (
        notes_app(name, more=[audit_router(PATH)]) for name in ("note-service", "pen-service")
    )
    async with running(note) as notes, running(pen) as pens:
        member, admin = issuer.bearer(acme, "member"), issuer.bearer(acme, "admin")
        made = [
            (await notes.post("/api/notes", headers=member, json={"title": f"t{n}"})).json()["id"]
            for n in range(5)
        ]
        await pens.post("/api/notes", headers=member, json={"title": "of pens"})
        seen, url = [], f"{PATH}?limit=2"
        while url:
            answer = await notes.get(url, headers=admin)
            seen += [one["entity_id"] for one in answer.json()["items"]]
            url = answer.links.get("next", {}).get("url", "")
        one = await notes.get(f"{PATH}?entity=note&entity_id={made[2]}", headers=admin)
        none = await notes.get(f"{PATH}?entity=pen", headers=admin)

    assert seen == made[::-1]
    assert [entry["entity_id"] for entry in one.json()["items"]] == [made[2]]
    assert none.json()["items"] == []


async def test_values_that_json_has_not_are_told_as_text(notes_app: Any, acme: str) -> None:
    app = notes_app()
    thing, moment = uuid4(), datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    async with app.router.lifespan_context(app):
        tenant = app.state.chassis.tenant(acme)
        async with tenant.transaction() as tx:
            trail = AuditTrail("note-service", "service:pen-service")
            await trail.record(
                tx, "note.moved", "note", thing, after={"at": moment, "to": UUID(int=1)}
            )
        row = await tenant.fetch_one("select entity_id, after, request_id from audit_entries")

    assert row == (str(thing), {"at": "2026-01-02T03:04:05Z", "to": str(UUID(int=1))}, None)


@pytest.mark.parametrize("value", [float("nan"), object(), "\ud800"])
async def test_what_can_be_no_json_fails_and_takes_the_change_with_it(
    notes_app: Any, acme: str, value: object
) -> None:
    async def change(tx: Transaction) -> None:
        await tx.execute("insert into notes values (%s, 'a')", [uuid4()])
        trail = AuditTrail("note-service", "service:pen-service")
        await trail.record(tx, "note.moved", "note", after={"value": value})

    app = notes_app()
    async with app.router.lifespan_context(app):
        tenant = app.state.chassis.tenant(acme)
        with pytest.raises((ValueError, AppError)):
            await tenant.run(change)
        kept = await tenant.fetch_one(
            "select (select count(*) from notes), (select count(*) from audit_entries)"
        )

    assert kept == (0, 0)


async def test_an_entry_is_in_the_schema_of_its_tenant_and_nowhere_else(
    notes_app: Any, place: Place, issuer: Issuer, acme: str, other: str
) -> None:
    async with running(notes_app(more=[audit_router(PATH)])) as client:
        await client.post("/api/notes", headers=issuer.bearer(acme, "member"), json={"title": "a"})

    assert place.rows(f"select count(*) from tenant_{acme}.audit_entries") == [(1,)]
    assert place.rows(f"select count(*) from tenant_{other}.audit_entries") == [(0,)]


async def test_many_entries_are_written_like_one(notes_app: Any, issuer: Issuer, acme: str) -> None:
    app = notes_app(more=[audit_router(PATH)])
    trail = AuditTrail("note-service", "user:u1", "r1")
    done = [Done("note.created", "note", n, after={"n": n}) for n in range(3)]
    async with running(app) as client:
        async with app.state.chassis.tenant(acme).transaction() as tx:
            await trail.record_many(tx, done)
            await trail.record(tx, "note.created", "note", 3, after={"n": 3})
        listed = await client.get(PATH, headers=issuer.bearer(acme, "admin"))

    found = {one.pop("entity_id"): one for one in listed.json()["items"]}
    assert {key: one["after"] for key, one in found.items()} == {str(n): {"n": n} for n in range(4)}
    assert all(found["0"][name] == found["3"][name] for name in ("at", "actor", "request_id"))
