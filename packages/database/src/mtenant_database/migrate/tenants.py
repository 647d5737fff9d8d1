"""The tenants themselves: listed, suspended, resumed, dropped."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from psycopg import sql

from mtenant_database.migrate import registry
from mtenant_database.migrate.errors import UnknownTenant
from mtenant_database.migrate.ledger import Place
from mtenant_database.migrate.link import Link
from mtenant_database.migrate.settings import MigrateSettings
from mtenant_database.migrate.transaction import first_value, in_transaction

# Each table brings its indexes and its TOAST table into the server's lock table, which has room for
# max_locks_per_transaction (64) times max_connections (manual, 19.12).
CHUNK: Final = 50


@dataclass(frozen=True)
class Tenant:
    """A row of the registry.

    Attributes:
        id: The tenant's id.
        status: `provisioning`, `active`, `suspended` or `dropping`.
        versions: The newest version of each component.
        error: Why provisioning failed, or None.
        size: Bytes on disk with indexes, if asked for.
    """

    id: str
    status: str
    versions: dict[str, int]
    error: str | None
    size: int | None


async def list_tenants(
    conninfo: str, *, size: bool = False, settings: MigrateSettings | None = None
) -> list[Tenant]:
    """Return all tenants by id, in one query.

    Args:
        conninfo: A URL or a connection string.
        size: Whether to look at the files on disk, which takes long for many tenants.
        settings: Whose role.

    Raises:
        NotInstalled: There is no registry.
    """

    async def read(link: Link) -> list[Tenant]:
        text = await first_value(link, _select(size=size))
        return [Tenant(*row) for row in json.loads(text or "[]")]

    async with Link(conninfo) as link:
        return await in_transaction(link, settings or MigrateSettings(), read)


def _select(*, size: bool) -> sql.Composed:
    join = sql.SQL(
        " LEFT JOIN (SELECT n.nspname, sum(pg_total_relation_size(c.oid)) AS bytes FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'm')"
        " GROUP BY n.nspname) s ON s.nspname = 'tenant_' || t.id"
    )
    return sql.SQL(
        "SELECT coalesce(json_agg(json_build_array(t.id, t.status, coalesce((SELECT"
        " json_object_agg(v.component, v.version ORDER BY v.component) FROM shared.tenant_versions v"
        " WHERE v.tenant = t.id), '{{}}'), t.error, {}) ORDER BY t.id), '[]')"
        " FROM shared.tenants t{}"
    ).format(sql.SQL("s.bytes" if size else "NULL"), join if size else sql.SQL(""))


async def suspend(conninfo: str, tenant: str, *, settings: MigrateSettings | None = None) -> None:
    """Lock everybody out of a tenant's schema, in force with their next transaction.

    Who had USAGE is kept in the registry. The owner loses it too, because it may be the role of the
    application; fleet runs still migrate the tenant.

    Raises:
        UnknownTenant: There is no such tenant that is active.
        InvalidTenantId: The id is none.
    """

    async def act(link: Link, place: Place) -> None:
        await _expect(link, place, "active")
        grantees = await _lock_out(link, place)
        update = sql.SQL(
            "UPDATE shared.tenants SET status = 'suspended', grantees = {}::text[],"
            " updated_at = now() WHERE id = {};"
        ).format(sql.Literal(grantees), sql.Literal(place.tenant))
        await link.run(update.as_string())

    await _act(conninfo, tenant, settings, act)


async def resume(conninfo: str, tenant: str, *, settings: MigrateSettings | None = None) -> None:
    """Let those back into a suspended tenant's schema who were locked out of it.

    Raises:
        UnknownTenant: There is no such tenant that is suspended.
        InvalidTenantId: The id is none.
    """

    async def act(link: Link, place: Place) -> None:
        await _expect(link, place, "suspended")
        question = sql.SQL("SELECT to_json(grantees) FROM shared.tenants WHERE id = {}").format(
            sql.Literal(place.tenant)
        )
        schema = sql.Identifier(place.schema)
        grant = [
            sql.SQL("GRANT USAGE ON SCHEMA {} TO {};").format(schema, _role(name))
            for name in json.loads(await first_value(link, question) or "[]")
        ]
        update = sql.SQL(
            "UPDATE shared.tenants SET status = 'active', grantees = '{{}}', updated_at = now()"
            " WHERE id = {};"
        ).format(sql.Literal(place.tenant))
        await link.run("".join(part.as_string() for part in (*grant, update)))

    await _act(conninfo, tenant, settings, act)


async def drop(conninfo: str, tenant: str, *, settings: MigrateSettings | None = None) -> None:
    """Drop a tenant with all of its data, some tables at a time.

    One transaction for all of it could need more locks than the server has room for. A drop that was
    interrupted is finished by calling this again; meanwhile nobody may use what is left.

    Raises:
        UnknownTenant: There is no such tenant.
        InvalidTenantId: The id is none.
    """
    place, settings = Place.of_tenant(tenant), settings or MigrateSettings()

    async def chunk(link: Link) -> bool:
        return await _drop_chunk(link, place)

    async with Link(conninfo) as link:
        while not await in_transaction(link, settings, chunk, lock=place):
            pass


async def _drop_chunk(link: Link, place: Place) -> bool:
    """Do a part of it, first of all locking everybody out; tell whether that was the end."""
    status = await first_value(link, registry.select_status(str(place.tenant)))
    if status is None:
        raise UnknownTenant(tenant=place.tenant, wanted="there")
    if status != "dropping":
        await _lock_out(link, place)
        update = sql.SQL(
            "UPDATE shared.tenants SET status = 'dropping', updated_at = now() WHERE id = {}"
        ).format(sql.Literal(place.tenant))
        await link.run(update.as_string())
        return False
    schema, name = sql.Identifier(place.schema), sql.Literal(place.schema)
    forget = sql.SQL("DELETE FROM shared.tenants WHERE id = {}").format(sql.Literal(place.tenant))
    present = sql.SQL("SELECT count(*) FROM pg_namespace WHERE nspname = {}").format(name)
    if await first_value(link, present) == "0":
        await link.run(forget.as_string())
        return True
    # For this transaction, which gives it back: the lock-out is for the application as well.
    await link.run(sql.SQL("GRANT USAGE ON SCHEMA {} TO CURRENT_USER").format(schema).as_string())
    question = sql.SQL(
        "SELECT coalesce(json_agg(name), '[]') FROM (SELECT format('%I.%I', n.nspname, c.relname) AS"
        " name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = {}"
        " AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY c.oid DESC LIMIT {}) tables"
    ).format(name, sql.Literal(CHUNK))
    tables: list[str] = json.loads(await first_value(link, question) or "[]")
    if tables:
        # CASCADE takes the foreign keys between them along.
        await link.run(
            f"DROP TABLE {', '.join(tables)} CASCADE;"
            f" REVOKE USAGE ON SCHEMA {schema.as_string()} FROM CURRENT_USER"
        )
        return False
    await link.run(
        sql.SQL("DROP SCHEMA {} CASCADE;").format(schema).as_string() + forget.as_string()
    )
    return True


async def _lock_out(link: Link, place: Place) -> list[str]:
    """Take USAGE from everybody who has it, the owner too; return who that was, quoted."""
    question = sql.SQL(
        "SELECT coalesce(json_agg(DISTINCT coalesce(quote_ident(r.rolname), 'PUBLIC')), '[]')"
        " FROM pg_namespace n CROSS JOIN aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a"
        " LEFT JOIN pg_roles r ON r.oid = a.grantee"
        " WHERE n.nspname = {} AND a.privilege_type = 'USAGE'"
    ).format(sql.Literal(place.schema))
    grantees: list[str] = json.loads(await first_value(link, question) or "[]")
    schema = sql.Identifier(place.schema)
    for name in grantees:
        revoke = sql.SQL("REVOKE USAGE ON SCHEMA {} FROM {}").format(schema, _role(name))
        await link.run(revoke.as_string())
    return grantees


async def _expect(link: Link, place: Place, wanted: str) -> None:
    if await first_value(link, registry.select_status(str(place.tenant))) != wanted:
        raise UnknownTenant(tenant=place.tenant, wanted=wanted)


async def _act(
    conninfo: str,
    tenant: str,
    settings: MigrateSettings | None,
    act: Callable[[Link, Place], Awaitable[None]],
) -> None:
    place, chosen = Place.of_tenant(tenant), settings or MigrateSettings()
    async with Link(conninfo) as link:
        await in_transaction(link, chosen, lambda inside: act(inside, place), lock=place)


def _role(quoted: str) -> sql.SQL:
    # quote_ident at the server has quoted it; PUBLIC is a key word there.
    return sql.SQL(quoted)
