"""Contract migrations: those that take away what an older release may still use.

They wait until somebody says `up --contract`. From then on they are released: new tenants get them,
and a run that was interrupted goes on with them.
"""

from __future__ import annotations

from psycopg import sql

from mtenant_database.migrate.errors import ContractRefused
from mtenant_database.migrate.link import Link
from mtenant_database.migrate.registration import lock_components, read_registered
from mtenant_database.migrate.script import Requirement
from mtenant_database.migrate.transaction import first_value


async def release(link: Link, components: frozenset[str] | None) -> None:
    """Release the contract migrations of components, in the transaction that is open.

    Raises:
        ContractRefused: A tenant is below what one of them requires.
    """
    await lock_components(link)
    newest: dict[str, int] = {}
    for one in await read_registered(link, components):
        if not one.contract:
            continue
        newest[one.component] = one.version
        for wanted in one.requires:
            if names := await _below(link, wanted):
                raise ContractRefused(migration=str(one), requirement=str(wanted), tenants=names)
    for component, version in newest.items():
        await link.run(
            sql.SQL("UPDATE shared.components SET contracted = {} WHERE name = {}")
            .format(sql.Literal(version), sql.Literal(component))
            .as_string()
        )


async def _below(link: Link, wanted: Requirement) -> str | None:
    # One that is being provisioned, or dropped, is used by nobody yet, or any more.
    question = sql.SQL(
        "SELECT string_agg(id, ', ') || max(more) FROM (SELECT t.id, CASE WHEN count(*) OVER () > 5"
        " THEN ' ...' ELSE '' END AS more FROM shared.tenants t LEFT JOIN shared.tenant_versions v"
        " ON v.tenant = t.id AND v.component = {}"
        " WHERE t.status IN ('active', 'suspended') AND coalesce(v.version, 0) < {}"
        " ORDER BY t.id LIMIT 5) below"
    ).format(sql.Literal(wanted.component), sql.Literal(wanted.version))
    return await first_value(link, question)
