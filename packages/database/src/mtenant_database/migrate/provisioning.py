"""Provisioning: a new tenant's schema, made from what is registered."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from psycopg import sql
from psycopg.pq.abc import PGresult

from mtenant_database.migrate import ownership, planner, registry
from mtenant_database.migrate.errors import AdoptionRefused, TenantExists, UnknownTenant
from mtenant_database.migrate.ledger import Ledger, Place, create_ledger
from mtenant_database.migrate.link import Link, ScriptFailed, text_of
from mtenant_database.migrate.migration import History
from mtenant_database.migrate.patience import patiently
from mtenant_database.migrate.planner import Step, Target
from mtenant_database.migrate.registration import parse_registered, select_registered
from mtenant_database.migrate.settings import MigrateSettings
from mtenant_database.migrate.transaction import first_value, in_transaction
from mtenant_database.migrate.work import Done, Work
from mtenant_errors import AppError

_DUPLICATE_SCHEMA: Final = "42P06"


@dataclass(frozen=True)
class _Wanted:
    """What is registered, and how far a new tenant goes."""

    target: Target
    history: History


async def provision(
    conninfo: str, tenant: str, *, settings: MigrateSettings | None = None
) -> list[Done]:
    """Make a tenant: its schema, the tables of every registered component, its row `active`.

    Each file has its own transaction, so one that failed is resumed by calling this again. Nobody but
    the owner may use the schema before the tenant is active.

    Args:
        conninfo: A URL or a connection string of a role that may take the owner's.
        tenant: The id.
        settings: Roles and patience.

    Returns:
        The steps that were made.

    Raises:
        InvalidTenantId: The id is none.
        TenantExists: There is such a tenant, or such a schema.
        NotInstalled: There is no registry.
        MigrationFailed: A file failed; the registry says why, and the tenant stays `provisioning`.
    """
    place, settings = Place.of_tenant(tenant), settings or MigrateSettings()
    async with Link(conninfo) as link:
        work = Work(link, place, settings, fresh=True)

        async def begin(link: Link) -> _Wanted:
            return await _wanted(work, ahead=await _begin(link, place, settings))

        wanted = await in_transaction(link, settings, begin, lock=place, durable=False)
        made: list[Done] = []
        try:
            while True:
                await _walk(work, wanted, made)
                work.fresh = False
                if await _activate(work, wanted):
                    return made
                wanted = await in_transaction(link, settings, lambda _: _wanted(work))
                work.fresh = True
        except AppError as exc:
            await _note(link, settings, place, exc)
            raise


async def _begin(link: Link, place: Place, settings: MigrateSettings) -> list[sql.Composed]:
    """Take the id; return the statements that make the schema, none if somebody began before."""
    tenant = sql.Literal(place.tenant)
    new = sql.SQL(
        "INSERT INTO shared.tenants (id) VALUES ({}) ON CONFLICT DO NOTHING RETURNING id"
    ).format(tenant)
    if await first_value(link, new) is None:
        status = await first_value(link, registry.select_status(str(place.tenant)))
        if status != "provisioning":
            raise TenantExists(tenant=place.tenant, status=status)
        return []
    schema = sql.SQL("CREATE SCHEMA {};").format(sql.Identifier(place.schema))
    return [schema, create_ledger(place), *grants(place, settings)]


def grants(place: Place, settings: MigrateSettings) -> list[sql.Composed]:
    """Return the statements that let the application read and write rows, but not the ledger's."""
    if settings.app is None:
        return []
    names = {
        "schema": sql.Identifier(place.schema),
        "app": sql.Identifier(settings.app),
        "ledger": place.ledger,
    }
    said = (
        "GRANT SELECT ON {ledger} TO {app};",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {app};",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT USAGE, SELECT ON SEQUENCES TO {app};",
    )
    return [sql.SQL(text).format(**names) for text in said]


async def _wanted(work: Work, *, ahead: Sequence[sql.Composable] = ()) -> _Wanted:
    """Return what is wanted of a tenant; before that, make its schema by the statements `ahead`.

    Raises:
        TenantExists: The schema is there.
    """
    said = (*ahead, _select_target(), select_registered(), sql.SQL(";"))
    last = ownership.select_ledger_id(work.place) if ahead else sql.SQL("")
    try:
        results = await work.link.run("".join(part.as_string() for part in (*said, last)))
    except ScriptFailed as exc:
        if exc.sqlstate != _DUPLICATE_SCHEMA:
            raise
        raise TenantExists(
            f"schema {work.place.schema} is there, and the registry does not know it:"
            " adopt it, or drop it"
        ) from exc.error
    if ahead:
        work.start_empty(int(text_of(results.pop()) or 0))
    return _Wanted(_parse_target(results[-2]), parse_registered(text_of(results[-1])))


def _select_target(*, shared: bool = False) -> sql.Composed:
    return sql.SQL(
        "SELECT coalesce(json_agg(json_build_array(name, head, contracted)), '[]')"
        " FROM (SELECT * FROM shared.components ORDER BY name{}) components;"
    ).format(sql.SQL(" FOR SHARE" if shared else ""))


def _parse_target(result: PGresult) -> Target:
    rows = json.loads(text_of(result) or "[]")
    return Target({name: head for name, head, _ in rows}, {name: until for name, _, until in rows})


async def _walk(work: Work, wanted: _Wanted, made: list[Done]) -> None:
    def choose(ledger: Ledger) -> list[Step]:
        return planner.plan(wanted.history, ledger, wanted.target, str(work.place))

    while (done := await work.step(choose)) is not None:
        made.append(done)
        if done.left == 0:
            return


async def _activate(work: Work, wanted: _Wanted) -> bool:
    """Make the tenant active; tell whether that could be done, or something else is wanted by now."""
    link, place = work.link, work.place

    async def attempt() -> bool:
        opened = await work.open()
        try:
            # FOR SHARE: until this transaction ends nobody registers anything, and whoever waits to
            # do so will find this tenant among the active ones.
            question = registry.select_status(str(place.tenant)), _select_target(shared=True)
            results = await link.run("".join(part.as_string() for part in question))
            status, target = text_of(results[-2]), _parse_target(results[-1])
            if status not in {"provisioning", "active"}:
                raise UnknownTenant(tenant=place.tenant, wanted="being provisioned")  # noqa: TRY301 -- the way out is the same
            left = planner.plan(wanted.history, opened.ledger, wanted.target, str(place))
            if status == "active" or left or target != wanted.target:
                await link.rollback()
                return status == "active"  # somebody else was faster
            await work.commit(opened, *_activation(work), work.recorded(opened.ledger))
        except ScriptFailed as exc:
            await link.rollback()
            raise work.error(exc) from exc.error
        except BaseException:
            await link.close()
            raise
        return True

    return await patiently(attempt, work.settings, str(place))


def _activation(work: Work) -> list[sql.Composed]:
    row = sql.SQL(
        # What came before need not have reached the disk; with this it does.
        "SET LOCAL synchronous_commit TO DEFAULT;"
        " UPDATE shared.tenants SET status = 'active', error = NULL, updated_at = now() WHERE id = {};"
    ).format(sql.Literal(work.place.tenant))
    return [row, *_admission(work.place, work.settings)]


def _admission(place: Place, settings: MigrateSettings) -> list[sql.Composed]:
    if settings.app is None:
        return []
    schema, app = sql.Identifier(place.schema), sql.Identifier(settings.app)
    return [sql.SQL("GRANT USAGE ON SCHEMA {} TO {};").format(schema, app)]


async def _note(link: Link, settings: MigrateSettings, place: Place, exc: AppError) -> None:
    note = sql.SQL("UPDATE shared.tenants SET error = {}, updated_at = now() WHERE id = {}").format(
        sql.Literal(exc.message), sql.Literal(place.tenant)
    )
    try:
        await in_transaction(link, settings, lambda inside: inside.run(note.as_string()))
    except Exception as second:
        exc.add_note(f"and the registry could not be told: {second}")


async def enrol(link: Link, place: Place, settings: MigrateSettings) -> None:
    """Take a schema that is there into the registry, as an active tenant, in the open transaction.

    Raises:
        AdoptionRefused: There is no such schema.
    """
    name = sql.Literal(sql.Identifier(place.schema).as_string())
    exists = sql.SQL("SELECT to_regnamespace({}) IS NOT NULL").format(name)
    if await first_value(link, exists) != "t":
        raise AdoptionRefused(table=place.schema, problem="there is no such schema")
    row = sql.SQL(
        "INSERT INTO shared.tenants (id, status) VALUES ({}, 'active') ON CONFLICT DO NOTHING"
        " RETURNING id"
    ).format(sql.Literal(place.tenant))
    if await first_value(link, row) is None:
        status = await first_value(link, registry.select_status(str(place.tenant)))
        if status != "active":
            raise AdoptionRefused(table=place.schema, problem=f"its tenant is {status}")
    statements = [create_ledger(place), *grants(place, settings), *_admission(place, settings)]
    await link.run("".join(part.as_string() for part in statements))
