"""Every statement of `queries` on a tenant with many users: none reads a large table from end to end.

A function that is added to `queries` fails here until it is called below.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from hashlib import md5
from types import ModuleType
from typing import Any
from uuid import UUID, uuid4

import pytest

from auth_service import queries
from auth_service.app import MIGRATIONS
from auth_service.domain.signing_key import StoredKey
from auth_service.queries import (
    api_keys,
    refresh_tokens,
    reset_tokens,
    sessions,
    signing_keys,
    users,
    verification_tokens,
)
from mtenant_chassis.testing import Explaining, Place, scans
from mtenant_config import Secret
from mtenant_database import Database, DatabaseConfig

pytestmark = pytest.mark.anyio

LARGE = {
    *("users", "sessions", "refresh_tokens", "api_keys"),
    *("password_reset_tokens", "email_verification_tokens"),
}
# One of a hundred thousand is an owner, as it may be, and few are disabled: what is rare is looked for.
SEED = """
insert into {t}.users (id, email, name, role, status, password_hash, created_at)
    select md5('user' || n)::uuid, 'p' || n || '@example.com', 'Person ' || n,
    case when n <= 3 then 'owner' when n <= 20 then 'admin' when n % 3 = 0 then 'viewer' else 'member' end,
    case when n % 500 = 0 then 'disabled' when n % 50 = 0 then 'pending' else 'active' end,
    'hash', timestamptz '2026-01-01' + n * interval '1 second' from generate_series(1, {many}) n;
insert into {t}.sessions (id, user_id, user_agent, created_at, expires_at, revoked_at)
    select md5('session' || n)::uuid, md5('user' || n % ({many} / 2) + 1)::uuid, 'agent',
    now() - n * interval '1 minute', now() + (n % 60 - 30) * interval '1 day',
    case when n % 4 = 0 then now() end from generate_series(1, {many}) n;
insert into {t}.refresh_tokens (family, session_id, expires_at, revoked_at)
    select md5('family' || n)::uuid, md5('session' || n)::uuid,
    now() + (n % 60 - 30) * interval '1 day', case when n % 4 = 0 then now() end
    from generate_series(1, {many}) n;
insert into {t}.password_reset_tokens (digest, user_id, expires_at)
    select sha256(n::text::bytea), md5('user' || n)::uuid, now() + interval '1 hour'
    from generate_series(1, {many}) n;
insert into {t}.email_verification_tokens (digest, user_id, expires_at)
    select sha256(n::text::bytea), md5('user' || n)::uuid, now() + interval '1 hour'
    from generate_series(1, {many}) n;
insert into {t}.api_keys (id, user_id, name, digest, scopes, revoked_at)
    select md5('key' || n)::uuid, md5('user' || n)::uuid, 'Key', sha256(n::text::bytea), '{x}',
    case when n % 4 = 0 then now() end from generate_series(1, {many}) n;
vacuum analyze {t}.users, {t}.sessions, {t}.refresh_tokens, {t}.password_reset_tokens,
    {t}.email_verification_tokens, {t}.api_keys
"""


def modules() -> list[ModuleType]:
    names = [one.name for one in pkgutil.iter_modules(queries.__path__)]
    return [importlib.import_module(f"{queries.__name__}.{name}") for name in names]


def functions() -> dict[str, tuple[ModuleType, Any]]:
    """Return every function that asks the database, by its full name."""
    return {
        f"{module.__name__}.{name}": (module, function)
        for module in modules()
        for name, function in inspect.getmembers(module, inspect.iscoroutinefunction)
        if function.__module__ == module.__name__
    }


def statements() -> dict[str, str]:
    """Return every statement that stands in a module, by its full name."""
    return {
        f"{module.__name__}.{name}": value
        for module in modules()
        for name, value in vars(module).items()
        if re.fullmatch("_[A-Z_]+", name)
        and isinstance(value, str)
        and re.match("(select|with|insert|update|delete) ", value)
    }


def md5_id(text: str) -> UUID:
    return UUID(md5(text.encode(), usedforsecurity=False).hexdigest())


USER, OTHER = md5_id("user7"), md5_id("user8")
HOUR = timedelta(hours=1)


async def ask_about_users(on: Any) -> None:
    user = await users.by_id(on, USER)
    assert user is not None
    await users.by_email(on, "p7@example.com")
    await users.lock(on, USER)
    await users.in_session(on, USER, md5_id("session6"))
    nothing: dict[str, Any] = {"email": None, "role": None, "status": None}
    asked = [
        nothing,
        {**nothing, "email": "p7@example.com"},
        *({**nothing, "role": one} for one in ("viewer", "member", "manager", "admin", "owner")),
        *({**nothing, "status": one} for one in ("pending", "active", "disabled")),
        {**nothing, "role": "owner", "status": "active"},
    ]
    for filters in asked:
        await users.count(on, **filters)
        for after in (None, (datetime(2026, 1, 1, 0, 5, tzinfo=UTC), USER)):
            await users.page(on, **filters, after=after, limit=51)
    await users.active_owners(on)
    changed = await users.change_password(on, user, "another")
    assert changed is not None
    await users.note_login(on, changed, "a third")
    await users.reset_password(on, USER, "a fourth")
    await users.verify_email(on, USER)
    await users.rename(on, USER, "Else")
    await users.set_role(on, USER, "member")
    await users.set_status(on, USER, "active")
    new: dict[str, Any] = {"name": "N", "role": "member", "status": "pending", "verified": False}
    await users.add(on, uuid4(), email="new@example.com", password_hash="x", **new)
    await users.register_again(on, USER, name="N", password_hash="x")


async def ask_about_the_rest(on: Any) -> None:
    await sessions.open_session(
        on, uuid4(), uuid4(), USER, user_agent=None, address=None, lifetime=HOUR
    )
    await sessions.of_user(on, USER)
    await sessions.state(on, md5_id("session6"))
    await refresh_tokens.rotate(on, md5_id("family41"), 0)
    await refresh_tokens.find(on, md5_id("family41"))
    await sessions.touch(on, USER)
    await sessions.revoke(on, USER, why="test", one=md5_id("session6"))
    await sessions.revoke(on, USER, why="test", but=md5_id("session6"))
    await sessions.revoke(on, OTHER, why="test")
    await reset_tokens.add(on, USER, b"reset", HOUR)
    await reset_tokens.email_of(on, b"reset")
    await reset_tokens.use(on, b"reset")
    await reset_tokens.void(on, OTHER)
    await verification_tokens.add(on, USER, b"verify", HOUR)
    await verification_tokens.use(on, b"verify")
    key, scopes = uuid4(), ["x"]
    await api_keys.add(on, key, USER, name="N", digest=b"d", scopes=scopes, lifetime=None)
    await api_keys.of_user(on, USER)
    await api_keys.state(on, key)
    await api_keys.note_use(on, key)
    await api_keys.revoke(on, key, USER)
    await signing_keys.add(on, StoredKey("kid", b"sealed", datetime.now(UTC)))
    await signing_keys.everything(on)
    await signing_keys.drop(on, ["kid"])


@pytest.fixture(scope="module")
def place(postgres_dsn: str) -> Place:
    """A database of its own: what is shared is filled, too."""
    return Place.make(postgres_dsn, {"auth": MIGRATIONS})


@pytest.fixture
async def explaining(place: Place, request: pytest.FixtureRequest) -> AsyncIterator[Explaining]:
    """A transaction of a tenant with as many users as the test says, as the service's role."""
    tenant = await place.new_tenant()
    text = SEED.replace("{many}", str(request.param)).replace("{t}", f"tenant_{tenant}")
    for statement in text.split(";\n"):
        place.rows(statement)
    config = DatabaseConfig(url=Secret(place.app), max_retries=0, max_idle_conns=1)
    async with Database(config) as database, database.tenant(tenant).transaction() as tx:
        yield Explaining(tx)


@pytest.mark.parametrize(
    "explaining", [20_000, pytest.param(100_000, marks=pytest.mark.slow)], indirect=True
)
async def test_no_statement_reads_a_large_table_from_end_to_end(
    explaining: Explaining, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: set[str] = set()
    for name, (module, function) in functions().items():
        monkeypatch.setattr(module, function.__name__, _noting(function, name, called))

    await ask_about_users(explaining)
    await ask_about_the_rest(explaining)

    monkeypatch.undo()
    assert called == functions().keys()
    sent = [text for text, _, _ in explaining.plans]
    assert {name for name, text in statements().items() if text not in sent} == set()
    assert [
        (found, text, params)
        for text, params, plan in explaining.plans
        if (found := [*scans(plan, LARGE)])
    ] == []


def _noting(function: Any, name: str, called: set[str]) -> Any:
    async def noted(*arguments: Any, **options: Any) -> Any:
        called.add(name)
        return await function(*arguments, **options)

    return noted
