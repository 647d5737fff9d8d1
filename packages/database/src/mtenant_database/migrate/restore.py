"""Restore: a tenant from its dump, beside the others, all of it or nothing."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql

from mtenant_database.migrate import preamble, registry
from mtenant_database.migrate.archive import BLOCK, SCHEMA, Manifest, Rows
from mtenant_database.migrate.dump import HIDDEN, OnBytes
from mtenant_database.migrate.dumped_script import DumpedScript, ScriptBroken
from mtenant_database.migrate.errors import DumpInvalid, RestoreRefused, TenantExists
from mtenant_database.migrate.ledger import Ledger, Place, select_ledger
from mtenant_database.migrate.link import Link, ScriptFailed, rows_of
from mtenant_database.migrate.settings import MigrateSettings
from mtenant_database.migrate.transaction import first_value, in_transaction

_UNREADABLE: Final = (OSError, EOFError, zlib.error)
_UNIQUE: Final = "23505"  # unique_violation

# As pg_dump's own text sets them, but for this transaction only. Every name in the text is qualified.
_SESSION: Final = """
SET LOCAL search_path TO ''; SET LOCAL client_encoding TO 'UTF8'; SET LOCAL row_security TO off;
SET LOCAL statement_timeout TO 0; SET LOCAL idle_in_transaction_session_timeout TO 0;
SET LOCAL check_function_bodies TO off; SET LOCAL xmloption TO content; SET LOCAL default_tablespace TO '';
SET LOCAL standard_conforming_strings TO on;
"""
_HEADS: Final = """
SELECT json_object_agg(c.name, json_build_array(c.head, coalesce((SELECT max(m.version)
    FROM shared.migrations m WHERE m.component = c.name), 0)))
FROM (SELECT name, head FROM shared.components FOR SHARE) c
"""


@dataclass(frozen=True)
class Restored:
    """What has been restored.

    Attributes:
        tenant: The id.
        status: As it was when it was dumped.
        rows: How many rows went back into tables that all tenants share.
        behind: The components that are not where the registry wants them: (version, wanted).
            `mtenant-db migrate up --tenant ID` brings them there.
    """

    tenant: str
    status: str
    rows: int
    behind: dict[str, tuple[int, int]]


async def restore(
    conninfo: str,
    folder: str | Path,
    *,
    settings: MigrateSettings | None = None,
    on_bytes: OnBytes = lambda count: None,
) -> Restored:
    """Bring a tenant back from a folder that `dump` made, under its id, in one transaction.

    The text of a dump is run as the owner: restore what you have dumped, not what a stranger sends.

    Args:
        conninfo: A URL or a connection string, of a role that may take the owner's. Where shared
            tables force row security it is a superuser, or has BYPASSRLS.
        folder: The dump.
        settings: Roles and patience. The application's role is called as it was.
        on_bytes: Called with the size of every piece, uncompressed.

    Returns:
        What has been restored.

    Raises:
        DumpInvalid: The folder is no dump, or is damaged; the server was not asked.
        TenantExists: There is a tenant of this id, or its schema.
        RestoreRefused: The server, a shared table or what is registered is older than the dump, or
            what was the tenant's own is another's now.
        SchemaBusy: Somebody has the tenant's lock.
        NotInstalled: There is no registry.
        MigrationFailed: The server refused something, or was not to be reached.
    """
    source, chosen = Path(folder), settings or MigrateSettings()
    manifest = Manifest.read(source)
    manifest.verify(source)
    place = Place.of_tenant(manifest.tenant)

    async def act(link: Link) -> Restored:
        return await _Restoration(link, place, chosen, source, manifest, on_bytes).run()

    async with Link(conninfo) as link:
        return await in_transaction(link, chosen, act, lock=place)


@dataclass(frozen=True)
class _Restoration:
    """The work of one transaction, which begins as the owner."""

    link: Link
    place: Place
    settings: MigrateSettings
    folder: Path
    manifest: Manifest
    on_bytes: OnBytes

    async def run(self) -> Restored:
        connection = await self.link.connection()
        here, there = connection.info.server_version, self.manifest.server
        if here // 10000 < there // 10000:
            raise self._refused(
                f"it comes from PostgreSQL {there // 10000}, and this is {here // 10000}"
            )
        await self._row()
        await self.link.run(_SESSION)
        last = await self._schema()
        ledger = Ledger.of(
            rows_of((await self.link.run(select_ledger(self.place).as_string()))[-1])
        )
        behind = await self._compare(ledger)
        await self.link.run(registry.keep_in_step(self.place, ledger).as_string())
        for statement in last:
            await self.link.run(statement)
        for rows in reversed(self.manifest.rows):
            await self._clear(rows)
        for rows in self.manifest.rows:
            await self._rows(rows)
        await self._take("")  # what is deferred is checked by the COMMIT
        count = sum(rows.count for rows in self.manifest.rows)
        return Restored(self.manifest.tenant, self.manifest.status, count, behind)

    async def _row(self) -> None:
        row = sql.SQL(
            "INSERT INTO shared.tenants (id, status, grantees, created_at)"
            " VALUES ({}, {}, {}::text[], {}::timestamptz)"
        ).format(
            sql.Literal(self.place.tenant),
            sql.Literal(self.manifest.status),
            sql.Literal(list(self.manifest.grantees)),
            sql.Literal(self.manifest.created_at),
        )
        try:
            status = await first_value(self.link, registry.select_status(str(self.place.tenant)))
            if status is not None:
                raise TenantExists(tenant=self.place.tenant, status=status)
            await self.link.run(row.as_string())
        except ScriptFailed as exc:
            if exc.sqlstate == _UNIQUE:  # made in between, by whoever does not take the lock
                raise TenantExists(tenant=self.place.tenant, status="there") from exc.error
            raise

    async def _schema(self) -> list[str]:
        """Run the dumped text: tables, rows, indexes, keys, grants; return what is to be run last.

        Those are the grants on the schema itself: the owner of a suspended tenant has no USAGE.
        """
        last: list[str] = []
        try:
            with self._reading(SCHEMA) as file:
                script = DumpedScript(self._counted(file))
                for statement in script:
                    if statement.is_copy:
                        await self._copy(statement.text, script.rows())
                    elif (
                        statement.is_grant and f" ON SCHEMA {self.place.schema} " in statement.text
                    ):
                        last.append(statement.text)
                    elif not statement.is_setting:
                        await self._statement(statement.text)
        except ScriptBroken as exc:
            raise DumpInvalid(where=str(self.folder), problem=f"{SCHEMA}: {exc}") from exc
        return last

    async def _statement(self, text: str) -> None:
        try:
            await self.link.run(text)
        except ScriptFailed as exc:
            if exc.sqlstate == "42P06":  # duplicate_schema
                raise TenantExists(
                    f"schema {self.place.schema} is there, and the registry does not know it: "
                    "adopt it, or drop it"
                ) from exc.error
            raise

    async def _compare(self, ledger: Ledger) -> dict[str, tuple[int, int]]:
        """Refuse what no program here knows; return what is behind. Nobody registers anything meanwhile."""
        said = await self.link.value(_HEADS)
        heads: dict[str, tuple[int, int]] = json.loads(said or "null") or {}
        for name in sorted({entry.component for entry in ledger}):
            newest = max(ledger.version(name), ledger.contracted(name))
            registered = heads.get(name, (0, 0))[1]
            if newest > registered:
                raise self._refused(
                    f"{name} is at {newest} in it, and {registered} is the newest that is registered "
                    "here: deploy that release first"
                )
        wanted = {name: head for name, (head, _) in heads.items()}
        return {
            name: (ledger.version(name), head)
            for name, head in sorted(wanted.items())
            if ledger.version(name) < head
        }

    async def _clear(self, rows: Rows) -> None:
        """Remove what a dropped tenant has left behind, which the dump replaces."""
        if not await self._fits(rows):
            return
        await self._take("DELETE", rows)
        clear = sql.SQL("DELETE FROM {} WHERE {} = {}").format(
            sql.Identifier(rows.schema, rows.table),
            sql.Identifier(rows.tenant_column),
            sql.Literal(self.place.tenant),
        )
        try:
            await self.link.run(clear.as_string())
        except ScriptFailed as exc:
            raise self._explained(rows, exc) from exc.error

    async def _rows(self, rows: Rows) -> None:
        if not rows.count:
            return
        await self._take("INSERT", rows)
        text = sql.SQL("COPY {} ({}) FROM STDIN").format(
            sql.Identifier(rows.schema, rows.table),
            sql.SQL(", ").join(map(sql.Identifier, rows.columns)),
        )
        try:
            with self._reading(rows.file) as file:
                blocks = iter(lambda: file.read(BLOCK), b"")
                await self._copy(text.as_string(), self._counted(blocks))
        except ScriptFailed as exc:
            raise self._explained(rows, exc) from exc.error

    async def _fits(self, rows: Rows) -> bool:
        """Tell whether there is a table for the rows, which there has to be if there are any.

        Raises:
            RestoreRefused: There are rows, and no table or not all of its columns.
        """
        name = sql.Literal(sql.Identifier(rows.schema, rows.table).as_string())
        question = sql.SQL(
            "SELECT coalesce(json_agg(attname), '[]') FROM pg_catalog.pg_attribute"
            " WHERE attrelid = pg_catalog.to_regclass({}) AND attnum > 0 AND NOT attisdropped"
        ).format(name)
        there = set(json.loads(await first_value(self.link, question) or "[]"))
        missing = sorted({rows.tenant_column, *rows.columns} - there)
        if missing and rows.count:
            what = f"no column {', '.join(missing)}" if there else "no such table"
            raise self._refused(
                f"it has rows of {rows.schema}.{rows.table}, and there is {what} here: "
                "deploy the release that it comes from first"
            )
        return rows.tenant_column in there

    async def _take(self, privilege: str, rows: Rows | None = None) -> None:
        """Take the role that may: who connects if it has the privilege itself, else the owner."""
        if rows is not None:
            question = sql.SQL("SELECT has_table_privilege(session_user, {}, {})").format(
                sql.Literal(sql.Identifier(rows.schema, rows.table).as_string()),
                sql.Literal(privilege),
            )
            if await first_value(self.link, question) == "t":
                await self.link.run("SET LOCAL ROLE NONE")
                return
        await self.link.run(preamble.set_role(self.settings).as_string() or "SELECT")

    async def _copy(self, statement: str, blocks: Iterable[bytes]) -> None:
        connection = await self.link.connection()
        broken: Exception | None = None
        try:
            async with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
                try:
                    for block in blocks:
                        await copy.write(block)
                except (*_UNREADABLE, ScriptBroken) as exc:
                    broken = exc
                    raise
        except psycopg.Error as exc:
            if broken is not None:  # then the server says only that the rows have ended early
                raise broken from None
            raise ScriptFailed(exc) from exc

    @contextmanager
    def _reading(self, name: str) -> Iterator[gzip.GzipFile]:
        try:
            with gzip.open(self.folder / name) as file:
                yield file
        except _UNREADABLE as exc:
            raise DumpInvalid(where=str(self.folder), problem=f"{name}: {exc}") from exc

    def _counted(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            self.on_bytes(len(piece))
            yield piece

    def _explained(self, rows: Rows, exc: ScriptFailed) -> RestoreRefused | ScriptFailed:
        name = f"{rows.schema}.{rows.table}"
        if exc.sqlstate == _UNIQUE:
            constraint = exc.error.diag.constraint_name
            return self._refused(
                f"{name} has a row of another tenant with a value of its own ({constraint}): "
                "it was taken since the dump"
            )
        if exc.sqlstate == HIDDEN:
            return self._refused(
                f"{name}: {exc.error.diag.message_primary}: connect as a role with BYPASSRLS that "
                "may write it, or as a superuser"
            )
        return exc

    def _refused(self, problem: str) -> RestoreRefused:
        return RestoreRefused(where=str(self.place), problem=problem)
