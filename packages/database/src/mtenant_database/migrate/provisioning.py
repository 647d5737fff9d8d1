"""Provisioning: a new tenant's schema, made from what is registered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import sql
from psycopg.pq.abc import PGresult

from mtenant_database.migrate import planner, preamble, registry
from mtenant_database.migrate.errors import AdoptionRefused, TenantExists, UnknownTenant
from mtenant_database.migrate.ledger import LEDGER, Ledger, Place, create_ledger
from mtenant_database.migrate.link import Link, ScriptFailed, rows_of, text_of
from mtenant_database.migrate.migration import History
from mtenant_database.migrate.ownership import Catalog
from mtenant_database.migrate.patience import patiently
from mtenant_database.migrate.planner import Step, Target
from mtenant_database.migrate.registration import registered_history, select_registered
from mtenant_database.migrate.settings import MigrateSettings
from mtenant_database.migrate.transaction import first_value, in_transaction
from mtenant_database.migrate.work import Done, Work
from mtenant_errors import AppError

_COMPONENTS: Final = "SELECT name, head, contracted FROM shared.components ORDER BY name{};"


@dataclass(frozen=True)
class _Wanted:
    """What is registered, and how far a new tenant goes; `rows` is what the registry said."""

    target: Target
    history: History
    rows: list[tuple[Any, ...]]


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
    link, place, settings = work.link, work.place, work.settings
    try:
        return await _begin_at_once(work)
    except ScriptFailed:
        # Which of many statements it was, and why, the same step by step will tell.
        await link.rollback()
    try:
        results = await in_transaction(
            link, settings, lambda inside: _create(inside, place, settings), lock=place
        )
    except _IsThere:
        return await in_transaction(
            link, settings, lambda inside: _resume(inside, place), lock=place
        )
    return _made(work, results)


async def _begin_at_once(work: Work) -> _Wanted:
    """Make them in one message, which begins the first step too.

    Raises:
        ScriptFailed: Nothing was made, or all of it and the beginning failed.
    """
    place, settings = work.place, work.settings
    making = _making(place, settings)
    work.begin_with(Catalog({}, frozenset()))
    ahead = work.opening()
    said = [
        preamble.begin(settings, "pg_catalog", durable=False),
        preamble.insist(place.schema),
        *making,
        sql.SQL(preamble.COMMIT + ";"),
    ]
    before = "".join(part.as_string() for part in said)
    results = await work.link.run(before + "".join(part.as_string() for part in ahead))
    made = next(i for i, r in enumerate(results) if r.command_status == b"COMMIT")
    return _made(work, results[:made], results[made:])


async def _create(link: Link, place: Place, settings: MigrateSettings) -> list[PGresult]:
    try:
        return await link.run("".join(part.as_string() for part in _making(place, settings)))
    except ScriptFailed as exc:
        if exc.sqlstate == "23505":  # unique_violation
            raise _IsThere from exc.error
        if exc.sqlstate == "42P06":  # duplicate_schema
            raise TenantExists(
                f"schema {place.schema} is there, and the registry does not know it: "
                "adopt it, or drop it"
            ) from exc.error
        raise


def _making(place: Place, settings: MigrateSettings) -> list[sql.Composable]:
    """Return the statements that make row, schema and ledger, and ask what is needed then."""
    row = sql.SQL("INSERT INTO shared.tenants (id) VALUES ({});").format(sql.Literal(place.tenant))
    schema = sql.SQL("CREATE SCHEMA {};").format(sql.Identifier(place.schema))
    ledger = sql.SQL("SELECT {}::pg_catalog.regclass::oid;").format(
        sql.Literal(place.ledger.as_string())
    )
    making = [row, schema, create_ledger(place), *grants(place, settings), ledger]
    return [*making, *_registry()]


def _made(
    work: Work, results: Sequence[PGresult], ahead: Sequence[PGresult] | None = None
) -> _Wanted:
    """Begin with the schema that `_making` has made; return what the registry wants of it."""
    ledger = int(text_of(results[-3]) or 0)
    work.begin_with(Catalog({ledger: LEDGER}, frozenset()), ahead)
    return _parsed(results)


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
    return [registry.select_status(str(place.tenant)), *_registry(share=share)]


def _registry(*, share: bool = False) -> list[sql.Composable]:
    # Two statements: the second sees what the first may have waited for.
    components = sql.SQL(_COMPONENTS).format(sql.SQL(" FOR SHARE" if share else ""))
    return [components, select_registered()]


def _answer(
    results: Sequence[PGresult], known: _Wanted | None = None
) -> tuple[str | None, _Wanted]:
    return text_of(results[-3]), _parsed(results, known)


def _parsed(results: Sequence[PGresult], known: _Wanted | None = None) -> _Wanted:
    components, registered = rows_of(results[-2]), rows_of(results[-1])
    target = Target(
        {name: head for name, head, _ in components}, {name: until for name, _, until in components}
    )
    if known is not None and known.rows == registered:
        return _Wanted(target, known.history, registered)
    return _Wanted(target, registered_history(registered), registered)


async def _walk(work: Work, wanted: _Wanted, made: list[Done]) -> None:
    def choose(ledger: Ledger) -> list[Step]:
        return planner.plan(wanted.history, ledger, wanted.target, str(work.place))

    then = _questions(work.place, share=True)
    while (done := await work.step(choose, then=then)) is not None:
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
            if opened.answers:
                status, wanted = _answer(opened.answers, known)
            else:
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
