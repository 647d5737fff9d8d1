"""SQL of imports: how far they are, and rows that wait or were refused."""

# ruff: noqa: S608 - what is put together are constants of this file

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from contact_service.domain.imports import Counts, Import
from mtenant_chassis.pages import WHOLE, counted
from mtenant_database import Transaction, Verbs

_COLUMNS: Final = (
    "id, filename, format, on_duplicate, dry_run, header, ignored, status, error, total, line,"
    " created, updated, skipped, invalid, actor, caller, request_id, created_at, finished_at"
)
_BY_ID: Final = f"select {_COLUMNS} from imports where id = %s"
_BY_DIGEST: Final = f"select {_COLUMNS} from imports where digest = %s"
_LIST: Final = (
    f"select {_COLUMNS} from imports where (%(at)s::timestamptz is null"
    " or (created_at, id) < (%(at)s, %(id)s::uuid)) order by created_at desc, id desc limit %(limit)s"
)
_COUNT: Final = counted(_LIST)
_FORGET_DIGEST: Final = "update imports set digest = null where digest = %s and status <> 'running'"
_ADD: Final = (
    "insert into imports (id, digest, filename, format, on_duplicate, dry_run, header, ignored,"
    " total, actor, caller, request_id) values (%(id)s, %(digest)s, %(filename)s, %(format)s,"
    " %(on_duplicate)s, %(dry_run)s, %(header)s, %(ignored)s, 0, %(actor)s, %(caller)s,"
    f" %(request_id)s) on conflict (digest) do nothing returning {_COLUMNS}"
)
_KEYS: Final = "select name, lower(name) from unnest(%s::text[]) as name"
_STAGED: Final = f"update imports set total = %s where id = %s returning {_COLUMNS}"
_STAGE: Final = "copy import_rows (import_id, line, cells, email) from stdin"
_SWEEP: Final = (
    "delete from import_rows where import_id in (select id from imports"
    " where finished_at < now() - interval '30 days' and created_at < now() - interval '30 days')"
)
_ROWS: Final = (
    "select line, cells from import_rows where import_id = %s and line > %s order by line limit %s"
)
_EARLIER: Final = (
    "select distinct email from import_rows where import_id = %s and line <= %s"
    " and email = any(%s) and errors is null"
)
_ERRORS: Final = (
    "select line, cells, errors from import_rows where import_id = %s and line > %s"
    " and errors is not null order by line limit %s"
)
_REFUSE: Final = (
    "update import_rows set errors = r.errors from json_to_recordset(%s::json)"
    " as r (line integer, errors json) where import_rows.import_id = %s"
    " and import_rows.line = r.line"
)
_DONE_ROWS: Final = (
    "delete from import_rows where import_id = %s and line > %s and line <= %s and errors is null"
)
_ADVANCE: Final = (
    "update imports set line = %(line)s, created = created + %(created)s,"
    " updated = updated + %(updated)s, skipped = skipped + %(skipped)s,"
    " invalid = invalid + %(invalid)s where id = %(id)s"
)
_FINISH: Final = (
    "update imports set status = %s, error = %s, finished_at = now() where id = %s"
    f" returning {_COLUMNS}"
)
_CLEAR: Final = "delete from import_rows where import_id = %s and errors is null"


@dataclass(frozen=True)
class StagedRow:
    """A row of the file that waits.

    Attributes:
        line: Where it stands.
        cells: Its texts.
    """

    line: int
    cells: Sequence[str]


@dataclass(frozen=True)
class RefusedRow:
    """A row of the file that was refused.

    Attributes:
        line: Where it stands.
        cells: Its texts.
        errors: Why.
    """

    line: int
    cells: Sequence[str]
    errors: Sequence[Mapping[str, Any]]


async def get(on: Verbs, which: UUID) -> Import | None:
    """Return an import."""
    return await on.fetch_optional(_BY_ID, [which], row=Import)


async def lock(tx: Transaction, which: UUID) -> Import | None:
    """Return it, and let nobody else work on it until the transaction ends."""
    return await tx.fetch_optional(f"{_BY_ID} for update", [which], row=Import)


async def by_digest(on: Verbs, digest: bytes) -> Import | None:
    """Return the import of a file with its options."""
    return await on.fetch_optional(_BY_DIGEST, [digest], row=Import)


async def newest_first(
    on: Verbs, *, after: tuple[datetime, UUID] | None, limit: int
) -> Sequence[Import]:
    """Return imports."""
    at, last = after or (None, None)
    return await on.fetch_all(_LIST, {"at": at, "id": last, "limit": limit}, row=Import)


async def count(on: Verbs) -> int:
    """Return how many imports there are."""
    return int(await on.fetch_value(_COUNT, WHOLE))


async def forget_digest(tx: Transaction, digest: bytes) -> None:
    """Let the same file be imported again, unless it is being imported."""
    await tx.execute(_FORGET_DIGEST, [digest])


async def add(tx: Transaction, values: dict[str, Any]) -> Import | None:
    """Add an import; None if there is one of the same file and options."""
    said = {**values, "header": json.dumps(values["header"])}
    return await tx.fetch_optional(
        _ADD, {**said, "ignored": json.dumps(values["ignored"])}, row=Import
    )


async def stage(
    tx: Transaction, which: UUID, rows: Collection[tuple[int, Sequence[str], str | None]]
) -> None:
    """Put rows where they wait: lines, cells, and the address that a row seems to have."""
    async with tx.copy(_STAGE) as copy:
        for line, cells, email in rows:
            await copy.write_row((which, line, json.dumps(cells), email))


async def staged(tx: Transaction, which: UUID, total: int) -> Import:
    """Note how many rows there are."""
    return await tx.fetch_one(_STAGED, [total, which], row=Import)


async def sweep(tx: Transaction) -> None:
    """Forget the refused rows of imports that were over a month ago."""
    await tx.execute(_SWEEP)


async def rows(on: Verbs, which: UUID, *, after: int, limit: int) -> Sequence[StagedRow]:
    """Return what is next."""
    return await on.fetch_all(_ROWS, [which, after, limit], row=StagedRow)


async def earlier(on: Verbs, which: UUID, *, until: int, emails: Collection[str]) -> set[str]:
    """Return the addresses that rows up to a line have, which a dry run keeps."""
    return {row[0] for row in await on.fetch_all(_EARLIER, [which, until, list(emails)])}


async def keys(on: Verbs, names: Collection[str]) -> dict[str, str]:
    """Return names in lower case, as the database has them: Python has others for some letters."""
    return dict(await on.fetch_all(_KEYS, [list(names)]))


async def errors(on: Verbs, which: UUID, *, after: int, limit: int) -> Sequence[RefusedRow]:
    """Return rows that were refused."""
    return await on.fetch_all(_ERRORS, [which, after, limit], row=RefusedRow)


async def refuse(
    tx: Transaction, which: UUID, refused: Mapping[int, Sequence[Mapping[str, Any]]]
) -> None:
    """Note why rows were refused."""
    said = json.dumps([{"line": line, "errors": why} for line, why in refused.items()])
    await tx.execute(_REFUSE, [said, which])


async def forget_rows(tx: Transaction, which: UUID, *, after: int, until: int) -> None:
    """Remove rows that were done and not refused."""
    await tx.execute(_DONE_ROWS, [which, after, until])


async def advance(tx: Transaction, which: UUID, line: int, counts: Counts) -> None:
    """Note that rows up to a line are done."""
    await tx.execute(_ADVANCE, {"id": which, "line": line, **counts.__dict__})


async def finish(tx: Transaction, which: UUID, status: str, error: str | None) -> Import:
    """Note that it is over."""
    await tx.execute(_CLEAR, [which])
    return await tx.fetch_one(_FINISH, [status, error, which], row=Import)
