"""SQL of registrations and of the names they take. Whoever calls is the registrar: `admit` comes first."""

# ruff: noqa: S608 - what is put together are constants of this file

from __future__ import annotations

from typing import Final
from uuid import UUID, uuid4

from mtenant_database import Transaction
from tenant_service.domain.registration import (
    LEASE,
    REMEMBERED,
    Application,
    Registration,
    RegistrationState,
    wait_after,
)

_COLUMNS: Final = (
    "id, tenant, subdomain, name, owner_id, owner_email, owner_name, fingerprint, state, error,"
    " attempt, created_at, lease_until"
)
_ADMIT: Final = "select set_config('mtenant.registrar', 'on', true)"
_IS_FREE: Final = (
    "select not exists (select from shared.subdomains where name = %s"
    " and (held_until is null or held_until > now()))"
)
_TAKE: Final = (
    "insert into shared.subdomains (name, tenant) values (%s, %s) on conflict (name) do update set"
    " tenant = excluded.tenant, held_until = null"
    " where subdomains.tenant = excluded.tenant or subdomains.held_until < now() returning name"
)
_ADD: Final = (
    "insert into shared.registrations (id, tenant, subdomain, name, owner_id, owner_email,"
    " owner_name, key, fingerprint, lease_until)"
    f" values (%s, %s, %s, %s, %s, %s, %s, %s, %s, now() + %s) returning {_COLUMNS}"
)
_FIND: Final = f"select {_COLUMNS} from shared.registrations where id = %s"
_FIND_KEY: Final = f"select {_COLUMNS} from shared.registrations where key = %s"
_CLAIM: Final = (
    "update shared.registrations set attempt = attempt + 1, lease_until = now() + %s"
    f" where id = %s and state = 'running' and lease_until <= now() returning {_COLUMNS}"
)
_CLAIM_DUE: Final = (
    "update shared.registrations set attempt = attempt + 1, lease_until = now() + %s where id ="
    " (select id from shared.registrations where state in ('running', 'abandoning')"
    " and lease_until <= now() and due_at <= now() order by due_at limit 1 for update skip locked)"
    f" returning {_COLUMNS}"
)
_MINE: Final = (
    "select 1 from shared.registrations where id = %s and attempt = %s and state = %s for update"
)
_LATER: Final = (
    "update shared.registrations set lease_until = now(), due_at = now() + %s, error = %s"
    " where id = %s and attempt = %s and state in ('running', 'abandoning')"
)
_ABANDON: Final = (
    "update shared.registrations set state = 'abandoning', error = %s"
    " where id = %s and attempt = %s and state in ('running', 'abandoning') returning 1"
)
_OVER: Final = (
    "update shared.registrations set state = %(state)s, owner_email = null, owner_name = null,"
    " key = case when %(state)s = 'done' then key end, finished_at = now()"
    " where id = %(id)s and attempt = %(attempt)s"
)
_RELEASE: Final = "delete from shared.subdomains where name = %s and tenant = %s"
_OLD: Final = (
    "select id, tenant, state from shared.registrations where finished_at < now() - %s"
    " order by finished_at limit 20"
)
_FORGET: Final = "delete from shared.registrations where id = %s and finished_at is not null"
_FORGET_NAMES: Final = "delete from shared.subdomains where held_until < now()"


async def admit(tx: Transaction) -> None:
    """Let the transaction see and change the rows of tenants that are not there yet."""
    await tx.queue(_ADMIT)


async def is_free(tx: Transaction, subdomain: str) -> bool:
    """Tell whether nobody has a name."""
    return bool(await tx.fetch_value(_IS_FREE, [subdomain]))


async def take_name(tx: Transaction, subdomain: str, tenant: str) -> bool:
    """Take a name for a tenant; tell whether it could be had. Two who want one wait for each other."""
    return await tx.fetch_optional(_TAKE, [subdomain, tenant]) is not None


async def release_name(tx: Transaction, subdomain: str, tenant: str) -> None:
    """Let a name of a tenant go, at once."""
    await tx.execute(_RELEASE, [subdomain, tenant])


async def add(tx: Transaction, asked: Application, tenant: str) -> Registration:
    """Write down what is asked for; it is this process's at first."""
    registration, owner = uuid4(), uuid4()
    who = [owner, asked.owner.email, asked.owner.name, asked.key_digest, asked.fingerprint]
    values = [registration, tenant, asked.subdomain, asked.name, *who, LEASE]
    return await tx.fetch_one(_ADD, values, row=Registration)


async def find(tx: Transaction, registration: UUID) -> Registration | None:
    """Return a registration."""
    return await tx.fetch_optional(_FIND, [registration], row=Registration)


async def find_by_key(tx: Transaction, key: bytes) -> Registration | None:
    """Return the registration that was asked for with a key."""
    return await tx.fetch_optional(_FIND_KEY, [key], row=Registration)


async def claim(tx: Transaction, registration: UUID) -> Registration | None:
    """Take over one that nobody works on; None if somebody does, or it is over."""
    return await tx.fetch_optional(_CLAIM, [LEASE, registration], row=Registration)


async def claim_due(tx: Transaction) -> Registration | None:
    """Take over one whose next attempt is due; None if there is none."""
    return await tx.fetch_optional(_CLAIM_DUE, [LEASE], row=Registration)


async def is_mine(tx: Transaction, one: Registration, state: RegistrationState) -> bool:
    """Tell whether it is still this process's, and keep it so until the transaction ends."""
    return await tx.fetch_optional(_MINE, [one.id, one.attempt, state]) is not None


async def later(tx: Transaction, one: Registration, error: str) -> None:
    """Let go of it until its next attempt is due."""
    await tx.execute(_LATER, [wait_after(one.attempt), error, one.id, one.attempt])


async def abandon(tx: Transaction, one: Registration, error: str | None) -> bool:
    """Give it up; tell whether it is this process's to do so."""
    return await tx.fetch_optional(_ABANDON, [error, one.id, one.attempt]) is not None


async def finish(tx: Transaction, one: Registration, state: RegistrationState) -> None:
    """Note that it is over, and forget who asked; after a failure the client's key is free again."""
    await tx.execute(_OVER, {"state": state, "id": one.id, "attempt": one.attempt})


async def over_long_ago(tx: Transaction) -> list[tuple[UUID, str, RegistrationState]]:
    """Return some that nobody will ask for any more: id, tenant, state."""
    rows = await tx.fetch_all(_OLD, [REMEMBERED])
    return [(one[0], one[1], one[2]) for one in rows]


async def forget(tx: Transaction, registration: UUID) -> None:
    """Delete one that is over."""
    await tx.execute(_FORGET, [registration])


async def forget_names(tx: Transaction) -> None:
    """Let the names go whose time is over."""
    await tx.execute(_FORGET_NAMES)
