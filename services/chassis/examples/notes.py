"""A whole service: notes of tenants, written once, paged, changed with If-Match.

It wants a PostgreSQL: the one of DATABASE_URL (as a superuser, for the example makes a database), or
that of mtenant-devstack, which starts one.
"""

import asyncio
import os
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID, uuid4

from fastapi import Response
from pydantic import BaseModel

from mtenant_chassis import (
    Audit,
    IfMatch,
    Page,
    PageQuery,
    Router,
    Tenant,
    Tx,
    create_app,
    idempotent,
    requires,
    set_etag,
)
from mtenant_chassis.testing import Issuer, Place, running
from mtenant_errors import NotFound

MIGRATION = """\
-- Migration: Notes
-- Version: 001
-- Description: notes

CREATE TABLE notes (
    id uuid PRIMARY KEY,
    title text NOT NULL,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
"""
ROLLBACK = """\
-- Rollback: Notes
-- Version: 001
-- Description: undo: notes

DROP TABLE notes;
"""

router = Router(prefix="/api/notes", tags=["notes"])


class NewNote(BaseModel):
    """What a client sends."""

    title: str


class Note(NewNote):
    """What it gets back."""

    id: UUID
    version: int
    created_at: datetime


class NoteNotFound(NotFound):
    """There is none, or it is another tenant's: nobody can tell."""

    code, message = "NOTE_NOT_FOUND", "there is no such note"


@router.post("", status_code=201, dependencies=[requires("notes:write"), idempotent()])
async def create(note: NewNote, tx: Tx, audit: Audit) -> Note:
    """Write a note."""
    query = "insert into notes (id, title) values (%s, %s) returning *"
    made = await tx.fetch_one(query, [uuid4(), note.title], row=Note)
    await audit.record(tx, "note.created", "note", made.id, after={"title": made.title})
    return made


@router.get("", dependencies=[requires("notes:read")])
async def list_notes(tenant: Tenant, page: PageQuery) -> Page[Note]:
    """List notes, newest first."""
    at, last = page.after(datetime, UUID, of="newest first") or (None, None)
    rows = await tenant.fetch_all(
        "select * from notes where %(at)s::timestamptz is null or (created_at, id) < (%(at)s, %(id)s)"
        " order by created_at desc, id desc limit %(limit)s",
        {"at": at, "id": last, "limit": page.limit + 1},
        row=Note,
    )
    total = await page.total(lambda: tenant.fetch_value("select count(*) from notes"))
    return page.of(rows, key=lambda note: (note.created_at, note.id), total=total)


@router.patch("/{note_id}", dependencies=[requires("notes:write")])
async def rename(
    note_id: UUID, note: NewNote, tx: Tx, if_match: IfMatch, response: Response
) -> Note:
    """Change the title of the version that was read."""
    query = "select * from notes where id = %s for update"
    found = await tx.fetch_optional(query, [note_id], row=Note)
    if found is None:
        raise NoteNotFound
    if_match.check(found.version)
    changed = await tx.fetch_one(
        "update notes set title = %s, version = version + 1 where id = %s returning *",
        [note.title, note_id],
        row=Note,
    )
    set_etag(response, changed.version)
    return changed


async def tell(place: Place) -> None:
    """Be two tenants, and some of their people."""
    issuer = Issuer()
    acme, globex = await place.new_tenant(), await place.new_tenant()
    app = create_app(place.settings("note-service"), routers=[router], keys=issuer.keys)
    async with running(app) as client:
        ada, bob, eve = (
            issuer.bearer(tenant, role, user=user)
            for tenant, role, user in (
                (acme, "member", "ada"),
                (acme, "viewer", "bob"),
                (globex, "owner", "eve"),
            )
        )

        async def ask(method: str, path: str, headers: dict[str, str], **body: Any) -> Any:
            answer = await client.request(method, path, headers=headers, **body)
            said = answer.json()
            print(f"{method:5} {path[:24]:24} {answer.status_code} {said.get('code', '')}")
            return said

        once = {**ada, "idempotency-key": str(uuid4())}
        first = await ask("POST", "/api/notes", once, json={"title": "call Grace"})
        again = await ask("POST", "/api/notes", once, json={"title": "call Grace"})
        assert first == again  # it was written once
        await ask("POST", "/api/notes", bob, json={"title": "a viewer writes"})
        await ask("POST", "/api/notes", ada, json={"title": 7})

        note = f"/api/notes/{first['id']}"
        await ask("PATCH", note, {**ada, "if-match": '"v1"'}, json={"title": "call Grace Hopper"})
        await ask("PATCH", note, {**ada, "if-match": '"v1"'}, json={"title": "of an old page"})
        await ask("PATCH", note, eve, json={"title": "another tenant's"})
        assert (await ask("GET", "/api/notes", eve))["items"] == []
        assert len((await ask("GET", "/api/notes", bob))["items"]) == 1


def main() -> None:
    """Make a database, and tell the story."""
    with ExitStack() as stack:
        superuser = os.environ.get("DATABASE_URL")
        if superuser is None:
            from mtenant_devstack import Stack  # noqa: PLC0415 -- only where there is no other server

            superuser = stack.enter_context(Stack(["postgres"])).postgres.url
        folder = Path(stack.enter_context(TemporaryDirectory()))
        (folder / "tenant").mkdir()
        (folder / "tenant" / "001_notes.sql").write_text(MIGRATION)
        (folder / "tenant" / "001_rollback.sql").write_text(ROLLBACK)
        asyncio.run(tell(Place.make(superuser, {"note": folder})))


if __name__ == "__main__":
    main()
