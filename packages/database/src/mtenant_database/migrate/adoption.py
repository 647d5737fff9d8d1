"""Adoption: what golang-migrate or yoyo has applied becomes rows of the ledger; nothing is run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final, Literal, cast

from psycopg import sql

from mtenant_database.migrate import ledger as books
from mtenant_database.migrate.errors import AdoptionRefused
from mtenant_database.migrate.ledger import LEDGER, Entry, Ledger, Place
from mtenant_database.migrate.link import Link, ScriptFailed, rows_of
from mtenant_database.migrate.migration import History, Migration
from mtenant_database.migrate.ownership import Catalog, select_catalog
from mtenant_database.migrate.provisioning import enrol
from mtenant_database.migrate.transaction import first_value, in_transaction
from mtenant_database.migrate.work import Work

Tool = Literal["golang-migrate", "yoyo"]

_DIGITS: Final = re.compile(r"[0-9]{1,18}")
_TABLES: Final = {"golang-migrate": "schema_migrations", "yoyo": "_yoyo_migration"}


def adopted(history: History, tool: Tool, table: str, rows: Iterable[object]) -> list[Migration]:
    """Return the migrations that the other tool's rows stand for.

    Args:
        history: The files of one component.
        tool: golang-migrate keeps one row, version and dirty; yoyo one for each file,
            whose name begins with the version.
        table: What errors call the table.
        rows: `[version, dirty]` for golang-migrate, the file's name for yoyo.

    Raises:
        AdoptionRefused: It is dirty, or it knows what the files do not, or it left one out.
    """
    if tool == "golang-migrate":
        return _of_version(history, table, list(rows))
    known = {one.version: one for one in history}
    found = []
    for row in sorted(map(str, rows)):
        digits = _DIGITS.match(row)
        if digits is None or int(digits.group()) not in known:
            raise AdoptionRefused(table=table, problem=f"it knows {row}, which is no file here")
        found.append(known[int(digits.group())])
    newest = max((one.version for one in found), default=0)
    for one in history:
        if one.version < newest and one not in found:
            raise AdoptionRefused(table=table, problem=f"{one} is not applied, and later ones are")
    return list(History(found))


def _of_version(history: History, table: str, rows: list[object]) -> list[Migration]:
    if len(rows) > 1:
        raise AdoptionRefused(table=table, problem="it has more than one row")
    if not rows:
        return []
    version, dirty = cast("tuple[int, bool]", rows[0])
    if dirty:
        raise AdoptionRefused(
            table=table, problem=f"version {version} is dirty: mend the schema with that tool first"
        )
    found = [one for one in history if one.version <= version]
    if not found or found[-1].version != version:
        raise AdoptionRefused(table=table, problem=f"it is at {version}, which is no file here")
    return found


async def adopt(work: Work, history: History, tool: Tool, table: str | None = None) -> list[Entry]:
    """Write rows of the ledger for what the other tool has applied, and return them.

    A tenant is taken into the registry in the same transaction. The relations that are there and
    belong to nobody become the newest row's. The other tool's table stays as it is. A second time
    nothing happens.

    Raises:
        AdoptionRefused: As `adopted`, or the schema or the table is not there.
    """
    name, place = table or _TABLES[tool], work.place

    async def act(link: Link) -> list[Entry]:
        if place.tenant is not None:
            await enrol(link, place, work.settings)
        rows = await _rows(link, place, tool, name)
        reading = books.select_ledger(place).as_string() + select_catalog(place).as_string()
        ledger_rows, catalog_rows = (rows_of(one) for one in (await link.run(reading))[-2:])
        ledger, catalog = Ledger.of(ledger_rows), Catalog.of(catalog_rows)
        free = {*catalog.relations.values()} - {LEDGER, name, *ledger.owners}
        entries = _entries(
            ledger, adopted(history, tool, f"{place.schema}.{name}", rows), sorted(free)
        )
        said = [books.insert_entry(place, entry, None).as_string() for entry in entries]
        recorded = work.recorded(Ledger([*ledger, *entries]))
        await link.run("".join(said) + recorded.as_string())
        return entries

    return await in_transaction(work.link, work.settings, act, lock=place)


def _entries(ledger: Ledger, found: list[Migration], free: list[str]) -> list[Entry]:
    new = [one for one in found if ledger.find(one.component, one.version) is None]
    first = 1 + max((entry.position for entry in ledger), default=0)
    return [
        Entry(
            one.component,
            one.version,
            one.name,
            one.checksum,
            one.contract,
            position=position,
            relations=tuple(free) if one is new[-1] else (),
        )
        for position, one in enumerate(new, start=first)
    ]


async def _rows(link: Link, place: Place, tool: Tool, name: str) -> list[object]:
    table = sql.Identifier(place.schema, name)
    there = sql.SQL("SELECT to_regclass({}) IS NOT NULL").format(sql.Literal(table.as_string()))
    if await first_value(link, there) != "t":
        raise AdoptionRefused(
            table=f"{place.schema}.{name}", problem=f"there is no such table of {tool}"
        )
    columns = (
        sql.SQL("json_build_array(version, dirty)")
        if tool == "golang-migrate"
        else sql.SQL("migration_id")
    )
    question = sql.SQL("SELECT coalesce(json_agg({}), '[]') FROM {}").format(columns, table)
    try:
        rows: list[object] = json.loads(await first_value(link, question) or "[]")
    except ScriptFailed as exc:
        if exc.transient or exc.lost:
            raise
        problem = f"it is no table of {tool}: {exc.error.diag.message_primary}"
        raise AdoptionRefused(table=f"{place.schema}.{name}", problem=problem) from exc
    return rows
