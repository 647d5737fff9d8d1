"""Provisioning: a new tenant's schema, made from what is registered."""

from __future__ import annotations

import json
from dataclasses import dataclass

from psycopg import sql
from psycopg.pq.abc import PGresult

from mtenant_database.migrate import planner, registry
from mtenant_database.migrate.errors import AdoptionRefused, TenantExists, UnknownTenant
from mtenant_database.migrate.ledger import Ledger, Place, create_ledger
from mtenant_database.migrate.link import Link, ScriptFailed, text_of
from mtenant_database.migrate.migration import History
from mtenant_database.migrate.ownership import Catalog, select_catalog
from mtenant_database.migrate.patience import patiently
from mtenant_database.migrate.planner import Step, Target
from mtenant_database.migrate.registration import parse_registered, select_registered
from mtenant_database.migrate.settings import MigrateSettings
from mtenant_database.migrate.transaction import first_value, in_transaction
from mtenant_database.migrate.work import Done, Work
from mtenant_errors import AppError

_COMPONENTS = (
    "SELECT coalesce(json_agg(json_build_array(name, head, contracted)), '[]')"
    " FROM (SELECT * FROM shared.components ORDER BY name{}) components;"
)


@dataclass(frozen=True)
class _Wanted:
    """What is registered, and how far a new tenant goes; `text` is what the registry said."""

    target: Target
    history: History
    text: str


class _IsThere(Exception):
    """The registry has a row of the tenant."""


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

        wanted = await _begin(work)
        made: list[Done] = []
        try:
            while True:
                await _walk(work, wanted, made)
                if (moved := await _activate(work, wanted)) is None:
                    return made
                wanted = moved
        except AppError as exc:
            await link.rollback()
            await _note(link, settings, place, exc)
            raise


async def _begin(work: Work) -> _Wanted:
    """Make the row and the schema, or find those of an attempt that failed."""
    place, settings = work.place, work.settings
    try:
        wanted, catalog = await in_transaction(
            work.link,
            settings,
            lambda link: _create(link, place, settings),
            lock=place,
            durable=False,
        )
    except _IsThere:
        return await in_transaction(
            work.link, settings, lambda link: _resume(link, place), lock=place
        )
    work.begin_with(catalog)
    return wanted


async def _create(link: Link, place: Place, settings: MigrateSettings) -> tuple[_Wanted, Catalog]:
    row = sql.SQL("INSERT INTO shared.tenants (id) VALUES ({});").format(sql.Literal(place.tenant))
    schema = sql.SQL("CREATE SCHEMA {};").format(sql.Identifier(place.schema))
    making = [row, schema, create_ledger(place), *grants(place, settings), select_catalog(place)]
    try:
        results = await link.run(
            "".join(part.as_string() for part in (*making, *_questions(place)))
        )
    except ScriptFailed as exc:
        if exc.sqlstate == "23505":  # unique_violation
            raise _IsThere from exc.error
        if exc.sqlstate == "42P06":  # duplicate_schema
            raise TenantExists(
                f"schema {place.schema} is there, and the registry does not know it: "
                "adopt it, or drop it"
            ) from exc.error
        raise
    catalog = Catalog.parse(text_of(results[len(making) - 1]) or "[]")
    return _answer(results)[1], catalog


async def _resume(link: Link, place: Place) -> _Wanted:
    status, wanted = await _wanted(link, place)
    if status != "provisioning":
        raise TenantExists(tenant=place.tenant, status=status)
    return wanted


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


async def _wanted(
    link: Link, place: Place, *, known: _Wanted | None = None
) -> tuple[str | None, _Wanted]:
    """Return the tenant's status, and what is wanted of it.

    Args:
        link: The connection.
        place: The tenant's.
        known: What was wanted before; from now on nobody moves a head until the transaction ends.
    """
    said = _questions(place, share=known is not None)
    return _answer(await link.run("".join(part.as_string() for part in said)), known)


def _questions(place: Place, *, share: bool = False) -> list[sql.Composable]:
    # Three statements: the last one sees what the one before it may have waited for.
    return [
        registry.select_status(str(place.tenant)),
        sql.SQL(_COMPONENTS).format(sql.SQL(" FOR SHARE" if share else "")),
        select_registered(),
    ]


def _answer(results: list[PGresult], known: _Wanted | None = None) -> tuple[str | None, _Wanted]:
    rows = json.loads(text_of(results[-2]) or "[]")
    target = Target(
        {name: head for name, head, _ in rows}, {name: until for name, _, until in rows}
    )
    status, text = text_of(results[-3]), text_of(results[-1]) or "[]"
    history = parse_registered(text) if known is None or known.text != text else known.history
    return status, _Wanted(target, history, text)


async def _walk(work: Work, wanted: _Wanted, made: list[Done]) -> None:
    def choose(ledger: Ledger) -> list[Step]:
        return planner.plan(wanted.history, ledger, wanted.target, str(work.place))

    while (done := await work.step(choose)) is not None:
        made.append(done)
        if done.left == 0:
            return


async def _activate(work: Work, known: _Wanted) -> _Wanted | None:
    """Make the tenant active; or return what is wanted now, because a head has moved."""
    link, place = work.link, work.place

    async def attempt() -> _Wanted | None:
        opened = await work.open()
        try:
            # FOR SHARE: until this transaction ends nobody registers anything, and whoever waits to
            # do so will find this tenant among the active ones.
            status, wanted = await _wanted(link, place, known=known)
            if status == "active":  # somebody else was faster
                await link.rollback()
                return None
            if status != "provisioning":
                raise UnknownTenant(tenant=place.tenant, wanted="being provisioned")  # noqa: TRY301 -- the way out is the same
            if planner.plan(wanted.history, opened.ledger, wanted.target, str(place)):
                await link.rollback()
                return wanted
            await work.commit(opened, *_activation(work), work.recorded(opened.ledger))
        except ScriptFailed as exc:
            await link.rollback()
            raise work.error(exc) from exc.error
        except BaseException:
            await link.close()
            raise
        return None

    return await patiently(attempt, work.settings, str(place))


def _activation(work: Work) -> list[sql.Composed]:
    row = sql.SQL(
        "UPDATE shared.tenants SET status = 'active', error = NULL, updated_at = now() WHERE id = {};"
    ).format(sql.Literal(work.place.tenant))
    # From here on it has to reach the disk, and all that was committed before it does so, too.
    durable = sql.SQL("SET LOCAL synchronous_commit TO DEFAULT;").format()
    return [durable, row, *_admission(work.place, work.settings)]


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
