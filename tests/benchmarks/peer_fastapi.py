"""The peer of the services: the same by FastAPI and asyncpg, with nothing that was not asked for.

    DATABASE_URL=... KEYS_URL=... NATS_URL=... python tests/benchmarks/peer_fastapi.py PORT

It checks the same token with the same library, and scopes the tenant by hand as one should: the id's form is
checked, and the path is set for one transaction. It has no request ids, no access log, no problem documents, no
metrics, no traces, no limits, no permissions, no audit, no check for duplicates.
"""

import json
import os
import re
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

import asyncpg
import nats
import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException
from joserfc import jws
from joserfc.jwk import KeySet
from pydantic import BaseModel

TENANT = re.compile(r"[a-z0-9_]{1,56}")
STREAM = "PEER"
PROFILE = (
    "select id, email, name, role, status, email_verified_at is not null as email_verified,"
    " created_at, version from users where id = $1 and status = 'active' and exists (select 1 from"
    " sessions where sessions.id = $2 and user_id = users.id and revoked_at is null"
    " and expires_at > now())"
)
COLUMNS = (
    "id, first_name, last_name, email, phone, job_title, status, company_id, owner_id, custom,"
    " created_at, updated_at, version"
)
GET = f"select {COLUMNS} from contacts where id = $1 and deleted_at is null"
LIST = (
    f"select {COLUMNS} from contacts where deleted_at is null"
    " order by created_at desc, id desc limit 50"
)
ADD = (
    "insert into contacts (id, first_name, last_name, email, status, search) values"
    f" ($1, $2, $3, $4, 'lead', array_to_tsvector($5::text[])) returning {COLUMNS}"
)


class Claims(BaseModel):
    """What is read of a token."""

    sub: UUID
    sid: UUID
    tenant_id: str
    aud: str
    iss: str
    exp: float


class User(BaseModel):
    """An account."""

    id: UUID
    email: str
    name: str
    role: str
    status: str
    email_verified: bool
    created_at: datetime
    version: int


class NewContact(BaseModel):
    """What a contact is made of."""

    first_name: str
    last_name: str
    email: str


class Contact(NewContact):
    """A contact."""

    id: UUID
    phone: str | None
    job_title: str | None
    status: str
    company_id: UUID | None
    owner_id: str | None
    custom: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    version: int

    @classmethod
    def of(cls, row: asyncpg.Record) -> "Contact":
        """Return what a row says."""
        return cls(**{**row, "custom": json.loads(row["custom"])})


def make(database_url: str, keys_url: str, nats_url: str) -> FastAPI:  # noqa: PLR0915 -- five small routes
    """Return the app."""
    with urllib.request.urlopen(keys_url) as answer:
        keys = KeySet.import_key_set(json.load(answer))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        bus = await nats.connect(nats_url)
        app.state.stream = bus.jetstream()
        await app.state.stream.add_stream(name=STREAM, subjects=["peer.>"])
        async with asyncpg.create_pool(database_url, min_size=5, max_size=20) as pool:
            app.state.pool = pool
            yield
        await bus.close()

    app = FastAPI(lifespan=lifespan)

    async def claims_of(authorization: Annotated[str, Header()]) -> Claims:
        try:
            token = jws.deserialize_compact(
                authorization.removeprefix("Bearer "), keys, algorithms=["EdDSA"]
            )
            claims = Claims.model_validate_json(token.payload)
        except ValueError as exc:
            raise HTTPException(401) from exc
        if token.headers().get("typ") != "at+jwt" or claims.exp < time.time():
            raise HTTPException(401)
        if claims.iss != "mtenant-auth" or claims.aud != "mtenant":
            raise HTTPException(401)
        if TENANT.fullmatch(claims.tenant_id) is None:
            raise HTTPException(401)
        return claims

    Caller = Annotated[Claims, Depends(claims_of)]

    @asynccontextmanager
    async def scoped(claims: Claims, *, readonly: bool) -> AsyncIterator[asyncpg.Connection]:
        path = f"tenant_{claims.tenant_id}, pg_catalog, pg_temp"
        async with app.state.pool.acquire() as conn, conn.transaction(readonly=readonly):
            await conn.execute(f"set local search_path to {path}")
            yield conn

    @app.get("/api/auth/profile")
    async def profile(claims: Caller) -> User:
        async with scoped(claims, readonly=True) as conn:
            row = await conn.fetchrow(PROFILE, claims.sub, claims.sid)
        if row is None:
            raise HTTPException(401)
        return User(**row)

    @app.get("/api/contacts")
    async def list_contacts(claims: Caller) -> dict[str, list[Contact]]:
        async with scoped(claims, readonly=True) as conn:
            rows = await conn.fetch(LIST)
        return {"items": [Contact.of(row) for row in rows]}

    @app.get("/api/contacts/{contact_id}")
    async def get(contact_id: UUID, claims: Caller) -> Contact:
        async with scoped(claims, readonly=True) as conn:
            row = await conn.fetchrow(GET, contact_id)
        if row is None:
            raise HTTPException(404)
        return Contact.of(row)

    async def add(asked: NewContact, claims: Claims) -> Contact:
        words = [asked.first_name.lower(), asked.last_name.lower(), asked.email]
        async with scoped(claims, readonly=False) as conn:
            row = await conn.fetchrow(
                ADD, uuid4(), asked.first_name, asked.last_name, asked.email, words
            )
        return Contact.of(row)

    @app.post("/api/contacts", status_code=201)
    async def create(asked: NewContact, claims: Caller) -> Contact:
        return await add(asked, claims)

    @app.post("/api/contacts-published", status_code=201)
    async def create_and_publish(asked: NewContact, claims: Caller) -> Contact:
        made = await add(asked, claims)
        body = json.dumps({"contact_id": str(made.id), "email": made.email}).encode()
        await app.state.stream.publish("peer.contact.created", body)
        return made

    return app


if __name__ == "__main__":
    uvicorn.run(
        make(os.environ["DATABASE_URL"], os.environ["KEYS_URL"], os.environ["NATS_URL"]),
        port=int(sys.argv[1]),
        access_log=False,
        log_level="warning",
    )
