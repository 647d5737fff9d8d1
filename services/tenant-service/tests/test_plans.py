"""Every statement of `queries` with many tenants, of which one has many users: no large table is read whole.

They run as the service's role, for what a policy adds is part of the plan. A function that is added to
`queries` fails here until it is called below.
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
from typing import Any, get_args
from uuid import UUID

import pytest
from pydantic import SecretStr

from mtenant_chassis.testing import Explaining, Place, Plan, scans
from mtenant_config import Secret
from mtenant_database import Database, DatabaseConfig
from tenant_service import MIGRATIONS, queries
from tenant_service.domain.invitation import Status
from tenant_service.domain.registration import Application, Owner
from tenant_service.queries import invitation, organization, registration, removal, settings

pytestmark = pytest.mark.anyio

LARGE = {
    *("organizations", "subdomains", "registrations", "removals", "invitations"),
    "user_preferences",
}

# What may read all of a large table, and why.
SCANS = {
    "settings._USERS": "counts everybody, and no index is smaller than so narrow a table",
    "invitation._COUNT": "counts all that the tenant has, here of a quarter of the table",
    "invitation._ALL": "an export of all that the tenant has, here of a quarter of the table",
}

# Every fourth invitation is the tenant's, and one of a thousand registrations is under way.
SEED = """
insert into shared.tenants (id, status)
    select 'many' || n, 'active' from generate_series(1, {many}) n;
insert into shared.organizations (id, name, subdomain, plan, status, updated_at)
    select 'many' || n, 'Organization ' || n, 'many-' || n, 'free',
    case when n % 1000 = 0 then 'suspending' else 'active' end, now() - n * interval '1 second'
    from generate_series(1, {many}) n;
insert into shared.organizations (id, name, subdomain, plan, status)
    values ('{tenant}', 'Acme', 'acme-{tenant}', 'free', 'active');
insert into shared.subdomains (name, tenant, held_until)
    select 'many-' || n, 'many' || n,
    case when n % 1000 = 0 then now() + (n % 30 - 5) * interval '1 day' end
    from generate_series(1, {many}) n;
insert into shared.registrations (id, tenant, subdomain, name, owner_id, owner_email, owner_name,
    key, state, lease_until, due_at, finished_at)
    select md5('registration' || n)::uuid, 'many' || n, 'many-' || n, 'Organization ' || n,
    gen_random_uuid(), case when n % 1000 = 0 then 'p@example.com' end, 'Ada', sha256(n::text::bytea),
    case when n % 1000 = 0 then 'running' else 'done' end,
    now() - interval '1 minute', now() - n * interval '1 second',
    case when n % 1000 > 0 then now() - n * interval '1 second' end
    from generate_series(1, {many}) n;
insert into shared.removals (tenant, due_at)
    select 'gone' || n, now() + n * interval '1 second' from generate_series(1, {many}) n;
insert into shared.invitations (id, tenant, email, role, digest, status, user_id, invited_by,
    expires_at, created_at)
    select md5('invitation' || n)::uuid,
    case when n % 4 = 3 then '{tenant}' else 'many' || n % 100 + 1 end, 'p' || n || '@example.com',
    'member', sha256(n::text::bytea),
    case when n % 200 = 7 then 'pending' when n % 500 = 9 then 'revoked' else 'accepted' end,
    gen_random_uuid(), 'somebody',
    now() + (n % 7 - 1) * interval '1 day', timestamptz '2026-01-01' + n * interval '1 second'
    from generate_series(1, 4 * {many}) n;
insert into tenant_{tenant}.user_preferences (user_id)
    select 'user' || n from generate_series(1, {many}) n;
vacuum analyze shared.tenants, shared.organizations, shared.subdomains, shared.registrations,
    shared.removals, shared.invitations, tenant_{tenant}.user_preferences
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
    """Return every statement that stands in a module, by the module's name and its own."""
    return {
        f"{module.__name__.rpartition('.')[2]}.{name}{key}": text
        for module in modules()
        for name, value in vars(module).items()
        if re.fullmatch("_[A-Z_]+", name)
        for key, text in (value.items() if isinstance(value, dict) else [("", value)])
        if isinstance(text, str) and re.match("(select|with|insert|update|delete) ", text)
    }


def md5_id(text: str) -> UUID:
    return UUID(md5(text.encode(), usedforsecurity=False).hexdigest())


DAY = timedelta(days=1)
MADE = datetime(2026, 1, 1, 0, 5, tzinfo=UTC)


async def ask_about_invitations(on: Any) -> None:
    made = await invitation.add(
        on, "new@example.com", "member", digest=b"d", invited_by="u", lifetime=DAY
    )
    assert made is not None
    await invitation.get(on, made.id)
    await invitation.lock(on, made.id)
    await invitation.by_digest(on, b"d")
    for status in (None, *get_args(Status)):
        for after in (None, (MADE, made.id)):
            await invitation.newest_first(on, status, after=after, limit=51)
        await invitation.count(on, status)
    await invitation.renew(on, made.id, digest=b"e", lifetime=DAY)
    await invitation.is_claimed(on, made.id)
    assert await invitation.claim(on, b"e")
    await invitation.let_go(on, made.id)
    await invitation.count_open(on)
    await invitation.is_open_for(on, "p207@example.com", but=made.id)
    assert await invitation.accept(on, made.id, "u")
    await invitation.revoke(on, made.id)
    await invitation.everything(on)


async def ask_about_the_organization(on: Any) -> None:
    await organization.get(on, on.tenant)
    await organization.lock(on, on.tenant)
    await organization.find(on, f"acme-{on.tenant}")
    changes: dict[organization.Change, str] = {
        "name": "Acme",
        "subdomain": f"else-{on.tenant}",
        "plan": "free",
    }
    for what, value in changes.items():
        await organization.change(on, on.tenant, what, value)
    await organization.move(on, on.tenant, to="suspending", of="active")
    await organization.note_export(on, on.tenant)
    assert await organization.may_be_deleted(on, on.tenant)
    await settings.settings(on)
    await settings.lock_settings(on)
    await settings.put_settings(on, {})
    await settings.preferences(on, "user7")
    await settings.lock_preferences(on, "user7")
    await settings.put_preferences(on, "user7", {})
    await settings.first_preferences(on, "new")
    await settings.count_users(on)
    await settings.all_preferences(on)


async def ask_as_the_registrar(on: Any) -> None:
    await registration.admit(on)
    await registration.is_free(on, "many-7")
    assert await registration.take_name(on, "new", "new")
    owner = Owner("new@example.com", "Ada", SecretStr("x"))
    new = await registration.add(on, Application("New", "new", owner, key="k"), "new")
    await registration.find(on, new.id)
    await registration.find_by_key(on, b"key")
    await registration.claim(on, md5_id("registration2000"))
    due = await registration.claim_due(on)
    assert due is not None
    assert await registration.is_mine(on, due, "running")
    await registration.later(on, due, "AWAY")
    assert await registration.abandon(on, due, "AWAY")
    await registration.finish(on, due, "failed")
    await registration.over_long_ago(on)
    await registration.forget(on, due.id)
    await registration.release_name(on, "new", "new")
    await registration.forget_names(on)
    await organization.add(on, "many7", "New", "new", "free")
    await organization.on_their_way(on)
    await organization.hold_name(on, "many7", "many-7")
    await organization.hold_names(on, "many7")
    await removal.add(on, "many7")
    await removal.due(on)
    await removal.put_off(on, "many7")


@pytest.fixture
def place(postgres_dsn: str) -> Place:
    """A database of its own: its shared tables are filled."""
    return Place.make(postgres_dsn, {"tenant": MIGRATIONS})


@pytest.fixture
async def explaining(place: Place, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """Open transactions of a tenant with as many users as the test says, or of none, and explain them."""
    tenant = await place.new_tenant()
    text = SEED.replace("{many}", str(request.param)).replace("{tenant}", tenant)
    for statement in text.split(";\n"):
        place.rows(statement)
    config = DatabaseConfig(url=Secret(place.app), max_retries=0, max_idle_conns=1)
    async with Database(config) as database:
        yield database.tenant(tenant), database.shared()


@pytest.mark.parametrize(
    "explaining", [20_000, pytest.param(100_000, marks=pytest.mark.slow)], indirect=True
)
async def test_no_statement_reads_a_large_table_from_end_to_end(
    explaining: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_tenant, shared = explaining
    called: set[str] = set()
    for name, (module, function) in functions().items():
        monkeypatch.setattr(module, function.__name__, _noting(function, name, called))

    plans: list[Plan] = []
    async with of_tenant.transaction() as tx:
        await ask_about_invitations(Explaining(tx, plans))
        await ask_about_the_organization(Explaining(tx, plans))
    async with shared.transaction() as tx:
        await ask_as_the_registrar(Explaining(tx, plans))

    monkeypatch.undo()
    assert called == functions().keys()
    known = statements()
    names = {text: _name_of(text, known) for text, _, _ in plans}
    assert known.keys() == set(names.values())
    read = [
        (names[text], params, found)
        for text, params, plan in plans
        if (found := [*scans(plan, LARGE)])
    ]
    assert [one for one in read if one[0] not in SCANS] == []
    assert SCANS.keys() == {name for name, _, _ in read}


def _name_of(text: str, known: dict[str, str]) -> str:
    """Return the name of a statement, to which a function may have added a lock."""
    return next(name for name, one in known.items() if text in {one, *_locked(one)})


def _locked(text: str) -> tuple[str, str]:
    return f"{text} for update", f"{text} for no key update"


def _noting(function: Any, name: str, called: set[str]) -> Any:
    async def noted(*arguments: Any, **options: Any) -> Any:
        called.add(name)
        return await function(*arguments, **options)

    return noted
