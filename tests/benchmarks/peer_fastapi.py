"""The peer of auth-service: the profile by FastAPI and asyncpg, with nothing that was not asked for.

    DATABASE_URL=... KEYS_URL=... python tests/benchmarks/peer_fastapi.py PORT

It checks the same token with the same library, and scopes the tenant by hand as one should: the id's form is
checked, and the path is set for one transaction. It has no request ids, no access log, no problem documents, no
metrics, no traces, no limits.
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
from typing import Annotated
from uuid import UUID

import asyncpg
import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException
from joserfc import jws
from joserfc.jwk import KeySet
from pydantic import BaseModel

TENANT = re.compile(r"[a-z0-9_]{1,56}")
QUERY = (
    "select id, email, name, role, status, email_verified_at is not null as email_verified,"
    " created_at, version from users where id = $1 and status = 'active' and exists (select 1 from"
    " sessions where sessions.id = $2 and user_id = users.id and revoked_at is null"
    " and expires_at > now())"
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
    """What is answered."""

    id: UUID
    email: str
    name: str
    role: str
    status: str
    email_verified: bool
    created_at: datetime
    version: int


def make(database_url: str, keys_url: str) -> FastAPI:
    """Return the app."""
    with urllib.request.urlopen(keys_url) as answer:
        keys = KeySet.import_key_set(json.load(answer))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with asyncpg.create_pool(database_url, min_size=5, max_size=20) as pool:
            app.state.pool = pool
            yield

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
        return claims

    @app.get("/api/auth/profile")
    async def profile(claims: Annotated[Claims, Depends(claims_of)]) -> User:
        if TENANT.fullmatch(claims.tenant_id) is None:
            raise HTTPException(401)
        path = f"tenant_{claims.tenant_id}, pg_catalog, pg_temp"
        async with app.state.pool.acquire() as conn, conn.transaction(readonly=True):
            await conn.execute(f"set local search_path to {path}")
            row = await conn.fetchrow(QUERY, claims.sub, claims.sid)
        if row is None:
            raise HTTPException(401)
        return User(**row)

    return app


if __name__ == "__main__":
    uvicorn.run(
        make(os.environ["DATABASE_URL"], os.environ["KEYS_URL"]),
        port=int(sys.argv[1]),
        access_log=False,
        log_level="warning",
    )
