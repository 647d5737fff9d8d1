"""What the tests share: a database with the chassis's tables, tokens, and a small service of notes."""

from __future__ import annotations

import email
import email.policy
import socket
from collections.abc import Callable, Iterator
from datetime import datetime
from email.message import EmailMessage
from typing import Annotated, Any
from uuid import UUID, uuid4

import pytest
from aiosmtpd.controller import Controller
from fastapi import Query, Response
from pydantic import BaseModel, ConfigDict, Field

from mtenant_chassis import (
    App,
    Audit,
    CurrentChassis,
    CurrentPrincipal,
    IfMatch,
    Mail,
    MailSettings,
    Page,
    PageQuery,
    RequiredIfMatch,
    Router,
    Tenant,
    Tx,
    authenticated,
    body_limit,
    create_app,
    idempotent,
    public,
    raises,
    requires,
    services_only,
    set_etag,
    set_static,
)
from mtenant_chassis.testing import Issuer, Place, eventually
from mtenant_errors import Conflict, NotFound, TooManyRequests, Unprocessable


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def place(postgres_dsn: str) -> Place:
    """A database that all tests of the session share; each makes tenants of its own."""
    return Place.make(postgres_dsn)


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def acme(place: Place) -> str:
    """A tenant with the chassis's tables and a table of notes."""
    return _with_notes(place)


@pytest.fixture
def other(place: Place) -> str:
    """Another one."""
    return _with_notes(place)


def _with_notes(place: Place) -> str:
    tenant = place.tenant()
    place.rows(
        f"set role {place.migrate.owner}; create table tenant_{tenant}.notes"
        " (id uuid primary key, title text not null unique, version int not null default 1,"
        " created_at timestamptz not null default clock_timestamp())"
    )
    return tenant


class NewNote(BaseModel):
    model_config = ConfigDict(extra="forbid")
    title: str = Field(min_length=1, max_length=100)
    labels: dict[str, int] = {}


class Note(BaseModel):
    id: UUID
    title: str
    version: int
    created_at: datetime


class NoteNotFound(NotFound):
    code, message = "NOTE_NOT_FOUND", "there is no such note"


class NoteForbidden(Unprocessable):
    code, message = "NOTE_FORBIDDEN", "such a note is against the rules"


class NoteTaken(Conflict):
    code, message = "NOTE_TAKEN", "there is such a note"


def notes_router() -> Router:
    """Return the routes of a service of notes, with everything that the chassis has."""
    router = Router(prefix="/api/notes", tags=["notes"])

    @router.get("", dependencies=[requires("notes:read")])
    async def list_notes(
        tenant: Tenant, page: PageQuery, like: Annotated[str | None, Query(max_length=50)] = None
    ) -> Page[Note]:
        at, last = page.after(datetime, UUID, of=("newest", like)) or (None, None)
        rows = await tenant.fetch_all(
            "select * from notes where (%(like)s::text is null or title like %(like)s) and"
            " (%(at)s::timestamptz is null or (created_at, id) < (%(at)s, %(id)s))"
            " order by created_at desc, id desc limit %(limit)s",
            {"like": like, "at": at, "id": last, "limit": page.limit + 1},
            row=Note,
        )
        count = "select count(*) from notes where %(like)s::text is null or title like %(like)s"
        total = await page.total(lambda: tenant.fetch_value(count, {"like": like}))
        return page.of(rows, key=lambda note: (note.created_at, note.id), total=total)

    @router.post("", status_code=201, dependencies=[requires("notes:write"), idempotent()])
    async def create(note: NewNote, tx: Tx, audit: Audit, response: Response) -> Note:
        made = await tx.fetch_one(
            "insert into notes (id, title) values (%s, %s) returning *",
            [uuid4(), note.title],
            row=Note,
        )
        await audit.record(tx, "note.created", "note", made.id, after={"title": made.title})
        if note.title == "forbidden":
            raise NoteForbidden
        if note.title == "busy":
            raise TooManyRequests
        if note.title == "broken":
            raise RuntimeError("CANARY of the program")
        set_etag(response, made.version)
        return made

    @router.get("/static", dependencies=[authenticated()])
    async def static(response: Response) -> list[str]:
        set_static(response, b"a b", seconds=60)
        return ["a", "b"]

    @router.get("/me", dependencies=[authenticated()])
    async def me(user: CurrentPrincipal) -> str:
        return user.key

    @router.get("/open", dependencies=[public()])
    async def open_to_all() -> str:
        return "hello"

    @router.get("/lost", dependencies=[public()])
    async def lost(tenant: Tenant) -> str:
        return tenant.id

    @router.get("/internal", dependencies=[services_only("notes:read")])
    async def internal(user: CurrentPrincipal) -> str:
        return user.key

    @router.post("/large", dependencies=[requires("notes:write"), body_limit(3 * 1024 * 1024)])
    async def large(text: list[str]) -> int:
        return sum(len(one) for one in text)

    @router.post("/mail", status_code=202, dependencies=[requires("notes:write")])
    async def mail(note: NewNote, tx: Tx, chassis: CurrentChassis) -> None:
        await chassis.mailer.add(
            tx, Mail(to="ada@example.com", subject=note.title, text="the token is s3cr3t-t0ken")
        )
        if note.title == "rolled back":
            raise NoteForbidden

    @router.get("/{note_id}", dependencies=[requires("notes:read")])
    async def get(note_id: UUID, tenant: Tenant, response: Response) -> Note:
        note = await tenant.fetch_optional("select * from notes where id = %s", [note_id], row=Note)
        if note is None:
            raise NoteNotFound
        set_etag(response, note.version)
        return note

    @router.patch("/{note_id}", dependencies=[requires("notes:write")], responses=raises(409))
    async def rename(note_id: UUID, note: NewNote, tx: Tx, if_match: IfMatch) -> Note:
        query = "select * from notes where id = %s for update"
        found = await tx.fetch_optional(query, [note_id], row=Note)
        if found is None:
            raise NoteNotFound
        if_match.check(found.version)
        return await tx.fetch_one(
            "update notes set title = %s, version = version + 1 where id = %s returning *",
            [note.title, note_id],
            row=Note,
        )

    @router.delete("/{note_id}", status_code=204, dependencies=[requires("notes:delete")])
    async def delete(note_id: UUID, tx: Tx, if_match: RequiredIfMatch) -> None:
        found = await tx.fetch_optional(
            "select * from notes where id = %s for update", [note_id], row=Note
        )
        if found is None:
            raise NoteNotFound
        if_match.check(found.version)
        await tx.execute("delete from notes where id = %s", [note_id])

    return router


MakeApp = Callable[..., App]


@pytest.fixture
def notes_app(place: Place, issuer: Issuer) -> MakeApp:
    """Make the app of the notes; settings and parts may be changed."""

    def make(
        service: str = "note-service", /, *, more: Any = (), at: Place = place, **changes: Any
    ) -> App:
        parts = {
            name: changes.pop(name)
            for name in (
                *("keys", "mail", "mailed", "transport", "startup", "tracer_provider"),
                "events",
            )
            if name in changes
        }
        return create_app(
            at.settings(service, **changes),
            routers=[notes_router(), *more],
            **{"keys": issuer.keys, **parts},
        )

    return make


@pytest.fixture(name="eventually")
def _eventually() -> Any:
    """Wait until a predicate holds, and fail if it does not in time."""
    return eventually


@pytest.fixture
def unused_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class Mailbox:
    """What a server took, and what it says to a recipient."""

    def __init__(self) -> None:
        self.taken: list[EmailMessage] = []
        self.answer = "250 OK"
        self.word = "250 taken"

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if self.answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.answer

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.taken.append(message)
        return self.word


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def smtp(mailbox: Mailbox, unused_port: int) -> Iterator[MailSettings]:
    """The settings of a server that puts everything into the mailbox."""
    controller = Controller(mailbox, hostname="127.0.0.1", port=unused_port, enable_SMTPUTF8=True)
    controller.start()
    try:
        yield MailSettings(smtp_host="127.0.0.1", smtp_port=unused_port, smtp_start_tls=False)
    finally:
        controller.stop()
