"""Dump: one tenant as a folder, at one moment, while everybody works on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from mtenant_database.dsn import Parameters, read_dsn
from mtenant_database.migrate.archive import (
    SCHEMA,
    Manifest,
    Output,
    Rows,
    begin,
    finish,
    unfinished,
)
from mtenant_database.migrate.errors import DumpFailed, DumpRefused, UnknownTenant
from mtenant_database.migrate.holdings import Holding, find_holdings
from mtenant_database.migrate.ledger import Place
from mtenant_database.migrate.link import Link, ScriptFailed, text_of
from mtenant_database.migrate.pg_dump import pg_dump
from mtenant_database.migrate.settings import MigrateSettings
from mtenant_database.migrate.transaction import first_value, in_transaction

# row_security: a row that a policy would hide is an error and not a gap (manual, 5.9 and 19.11).
_OPEN: Final = """
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL search_path TO pg_catalog, pg_temp; SET LOCAL client_encoding TO 'UTF8';
SET LOCAL row_security TO off; SET LOCAL statement_timeout TO 0;
SET LOCAL idle_in_transaction_session_timeout TO 0;
SET LOCAL datestyle TO ISO; SET LOCAL intervalstyle TO postgres; SET LOCAL extra_float_digits TO 3;
SELECT pg_export_snapshot();
"""
HIDDEN: Final = "42501"  # insufficient_privilege, also what row_security = off raises

OnBytes = Callable[[int], object]


@dataclass(frozen=True)
class _Source:
    """A transaction that shows the tenant as it is at one moment, and whom to ask for what."""

    conninfo: str
    link: Link
    place: Place
    settings: MigrateSettings
    snapshot: str
    folder: Path
    on_bytes: OnBytes


async def dump(
    conninfo: str,
    tenant: str,
    folder: str | Path,
    *,
    settings: MigrateSettings | None = None,
    on_bytes: OnBytes = lambda count: None,
) -> Manifest:
    """Write one tenant into a new folder: its schema, and its rows in tables that all tenants share.

    All of it shows one moment. Nobody waits for it but migrations of the same tenant, and who wants to
    suspend or drop it. The folder appears when it is complete; `restore` brings it back.

    Args:
        conninfo: A URL or a connection string, of a role that may take the owner's. Where shared
            tables force row security it is a superuser, or has BYPASSRLS.
        tenant: The id, of a tenant that is active or suspended.
        folder: What to make; the folder above it is there.
        settings: Whose role, and which pg_dump: of the server's version or newer.
        on_bytes: Called with the size of every piece, before compression.

    Returns:
        What the folder holds.

    Raises:
        InvalidTenantId: The id is none.
        UnknownTenant: There is no such tenant that is active or suspended.
        DumpRefused: There is such a folder, or the role does not see all of the tenant.
        DumpFailed: pg_dump or the disk failed; nothing is left behind.
        SchemaBusy: The tenant is being migrated.
        NotInstalled: There is no registry.
        MigrationFailed: The server refused something, or was not to be reached.
    """
    place, chosen, target = Place.of_tenant(tenant), settings or MigrateSettings(), Path(folder)

    async def act(owner: Link, unnamed: Path) -> Manifest:
        status = await _status(owner, place)
        await owner.run("SET LOCAL idle_in_transaction_session_timeout TO 0")
        begin(unnamed)
        async with _source(conninfo, place, chosen, unnamed, on_bytes) as source:
            return await _write(source, status)

    try:
        with unfinished(target) as unnamed:
            async with Link(conninfo) as link:
                # Its transaction holds the tenant's lock until the dump is complete.
                manifest = await in_transaction(
                    link, chosen, lambda owner: act(owner, unnamed), lock=place
                )
            finish(unnamed, target)
    except OSError as exc:
        raise DumpFailed(
            where=str(place), problem=f"{exc.filename or target}: {exc.strerror or exc}"
        ) from exc
    return manifest


async def _status(owner: Link, place: Place) -> dict[str, Any]:
    question = sql.SQL(
        "SELECT json_build_object('status', t.status, 'grantees', t.grantees,"
        " 'created_at', t.created_at, 'versions', coalesce((SELECT json_object_agg(v.component,"
        " v.version ORDER BY v.component) FROM shared.tenant_versions v WHERE v.tenant = t.id), '{{}}'))"
        " FROM shared.tenants t WHERE t.id = {} AND t.status IN ('active', 'suspended')"
    ).format(sql.Literal(place.tenant))
    said = await first_value(owner, question)
    if said is None:
        raise UnknownTenant(tenant=place.tenant, wanted="active or suspended")
    status: dict[str, Any] = json.loads(said)
    return status


@asynccontextmanager
async def _source(
    conninfo: str, place: Place, settings: MigrateSettings, folder: Path, on_bytes: OnBytes
) -> AsyncIterator[_Source]:
    async with Link(conninfo) as link:
        snapshot = text_of((await link.run(_OPEN))[-1])
        yield _Source(conninfo, link, place, settings, str(snapshot), folder, on_bytes)


async def _write(source: _Source, status: dict[str, Any]) -> Manifest:
    connection = await source.link.connection()
    moment = await source.link.value("SELECT now()")
    holdings = await find_holdings(source.link, source.place)
    digests = {SCHEMA: await _write_schema(source)}
    rows: list[Rows] = []
    for number, holding in enumerate(holdings, 1):
        name = f"rows-{number:02}.copy.gz"
        count, digests[name] = await _write_rows(source, holding, source.folder / name)
        rows.append(
            Rows(
                name,
                holding.schema,
                holding.table,
                holding.tenant_column,
                holding.columns,
                count,
            )
        )
    manifest = Manifest(
        tenant=str(source.place.tenant),
        dumped_at=str(moment),
        server=connection.info.server_version,
        rows=rows,
        sha256=digests,
        **status,
    )
    manifest.write(source.folder)
    return manifest


async def _write_schema(source: _Source) -> str:
    role = await _reader(source)
    parameters = await _parameters(source.conninfo, source.link)
    with Output(source.folder / SCHEMA) as file:
        async with aclosing(
            pg_dump(source.settings, parameters, source.place, source.snapshot, role=role)
        ) as blocks:
            async for block in blocks:
                await asyncio.to_thread(file.add, block)
                source.on_bytes(len(block))
    return file.sha256


async def _reader(source: _Source) -> str | None:
    """Return the role that pg_dump takes: none if who connects may use the schema."""
    schema, owner = source.place.schema, source.settings.owner
    question = sql.SQL(
        "SELECT has_schema_privilege(session_user, {schema}, 'USAGE')::text || ' ' ||"
        " has_schema_privilege(coalesce({owner}, session_user), {schema}, 'USAGE')::text"
    ).format(schema=sql.Literal(schema), owner=sql.Literal(owner))
    by_itself, as_owner = str(await first_value(source.link, question)).split()
    if by_itself == "true":
        return None
    if as_owner == "true":
        return owner
    raise DumpRefused(
        where=str(source.place),
        problem=f"nobody may use {schema}: it is suspended; connect as a role that has "
        "pg_read_all_data, or resume it",
    )


async def _parameters(conninfo: str, link: Link) -> Parameters:
    """Return what leads to the very server that the link is connected to."""
    connection = await link.connection()
    parameters = dict(read_dsn(conninfo) or {}) | {
        "host": connection.info.host,
        "port": str(connection.info.port),
        "target_session_attrs": "any",
        "application_name": "mtenant-db",
    }
    if "hostaddr" in parameters:
        parameters["hostaddr"] = connection.info.hostaddr
    return parameters


async def _write_rows(source: _Source, holding: Holding, path: Path) -> tuple[int, str]:
    """Write a table's rows of the tenant; return how many there are, and the file's digest."""
    place, link = source.place, source.link
    role: sql.Composable = sql.SQL("RESET ROLE")
    if not holding.readable and source.settings.owner is not None:
        role = sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(source.settings.owner))
    await link.run(role.as_string())
    connection = await link.connection()
    try:
        with Output(path) as file:
            async with connection.cursor() as cursor:
                async with cursor.copy(holding.copy_out(place)) as copy:
                    async for block in copy:
                        await asyncio.to_thread(file.add, bytes(block))
                        source.on_bytes(len(block))
                count = cursor.rowcount
    except psycopg.Error as exc:
        if exc.sqlstate == HIDDEN:
            raise DumpRefused(
                where=str(place),
                problem=f"{holding}: {exc.diag.message_primary}: connect as a role with BYPASSRLS "
                "that may read it, or as a superuser",
            ) from exc
        raise ScriptFailed(exc) from exc
    return count, file.sha256
