"""SQL of pipelines and their stages."""

# ruff: noqa: S608 - what is put together are constants of this file

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from deal_service.domain.pipeline import Outcome, Pipeline, Stage
from mtenant_database import Transaction, Verbs

_COLUMNS: Final = "id, name, is_default, created_at, updated_at, version"
_ALL: Final = f"select {_COLUMNS} from pipelines order by created_at, id"
_BY_ID: Final = f"select {_COLUMNS} from pipelines where id = %s"
_DEFAULT: Final = f"select {_COLUMNS} from pipelines where is_default"
_STAGES: Final = (
    "select id, pipeline_id, key, name, probability, outcome, next_stages from stages"
    " where pipeline_id = any(%s) order by pipeline_id, position"
)
_ADD: Final = (
    "insert into pipelines (id, name, is_default) values (%s, %s, %s) on conflict (lower(name)) do nothing"
    f" returning {_COLUMNS}"
)
_CHANGE: Final = (
    "update pipelines set name = %s, is_default = %s, updated_at = now(), version = version + 1"
    f" where id = %s returning {_COLUMNS}"
)
_NAME_TAKEN: Final = (
    "select exists (select from pipelines where lower(name) = lower(%s) and id <> %s)"
)
_NO_DEFAULT: Final = (
    "update pipelines set is_default = false, updated_at = now(), version = version + 1"
    " where is_default and id <> %s"
)
_DROP_STAGES: Final = "delete from stages where pipeline_id = %s and id <> all(%s)"
_PUT_STAGE: Final = (
    "insert into stages (id, pipeline_id, key, name, position, probability, outcome, next_stages)"
    " values (%(id)s, %(pipeline_id)s, %(key)s, %(name)s, %(position)s, %(probability)s, %(outcome)s,"
    " %(next_stages)s) on conflict (id) do update set name = excluded.name,"
    " position = excluded.position, probability = excluded.probability,"
    " next_stages = excluded.next_stages"
)
_DELETE: Final = "delete from pipelines where id = %s"
_STAGE_IN_USE: Final = "select exists (select from deals where stage_id = %s)"
_IN_USE: Final = "select exists (select from deals where pipeline_id = %s)"


@dataclass(frozen=True)
class _Row:
    id: UUID
    name: str
    is_default: bool
    created_at: datetime
    updated_at: datetime
    version: int


@dataclass(frozen=True)
class _StageRow:
    id: UUID
    pipeline_id: UUID
    key: str
    name: str
    probability: int
    outcome: Outcome
    next_stages: Sequence[str] | None

    def stage(self) -> Stage:
        return Stage(self.id, self.key, self.name, self.probability, self.outcome, self.next_stages)


async def every(on: Verbs) -> list[Pipeline]:
    """Return all, the oldest first."""
    return await _with_stages(on, await on.fetch_all(_ALL, row=_Row))


async def get(on: Verbs, pipeline: UUID) -> Pipeline | None:
    """Return one."""
    return await _only(on, await on.fetch_optional(_BY_ID, [pipeline], row=_Row))


async def hold(tx: Transaction, pipeline: UUID | None) -> Pipeline | None:
    """Return one, or the default one, of which nothing goes until the transaction ends.

    Any number of deals may be written meanwhile; whoever changes the pipeline waits.
    """
    query, params = (_DEFAULT, []) if pipeline is None else (_BY_ID, [pipeline])
    found = await tx.fetch_optional(f"{query} for key share", params, row=_Row)
    # A statement of its own: its snapshot is younger than the lock.
    return await _only(tx, found)


async def lock(tx: Transaction, pipeline: UUID) -> Pipeline | None:
    """Return one that nobody else changes, and that no deal enters, until the transaction ends."""
    return await _only(tx, await tx.fetch_optional(f"{_BY_ID} for update", [pipeline], row=_Row))


async def add(
    tx: Transaction, pipeline: UUID, name: str, *, is_default: bool, stages: Sequence[Stage]
) -> Pipeline | None:
    """Add one; None if its name is taken."""
    if is_default:
        await tx.execute(_NO_DEFAULT, [pipeline])
    row = await tx.fetch_optional(_ADD, [pipeline, name, is_default], row=_Row)
    if row is None:
        return None
    await _put_stages(tx, pipeline, stages)
    return _made(row, stages)


async def put(tx: Transaction, changed: Pipeline) -> Pipeline:
    """Write a pipeline that is locked, and its stages in their new order."""
    if changed.is_default:
        await tx.execute(_NO_DEFAULT, [changed.id])
    row = await tx.fetch_one(_CHANGE, [changed.name, changed.is_default, changed.id], row=_Row)
    await _put_stages(tx, changed.id, changed.stages)
    return _made(row, changed.stages)


async def is_name_taken(tx: Transaction, name: str, *, but: UUID) -> bool:
    """Tell whether another pipeline has a name."""
    return bool(await tx.fetch_value(_NAME_TAKEN, [name, but]))


async def delete(tx: Transaction, pipeline: UUID) -> None:
    """Remove one in which no deal is."""
    await tx.execute(_DELETE, [pipeline])


async def is_in_use(tx: Transaction, pipeline: UUID) -> bool:
    """Tell whether deals are in a pipeline, deleted ones among them."""
    return bool(await tx.fetch_value(_IN_USE, [pipeline]))


async def is_stage_in_use(tx: Transaction, stage: UUID) -> bool:
    """Tell whether deals are in a stage, deleted ones among them."""
    return bool(await tx.fetch_value(_STAGE_IN_USE, [stage]))


async def _put_stages(tx: Transaction, pipeline: UUID, stages: Sequence[Stage]) -> None:
    await tx.execute(_DROP_STAGES, [pipeline, [one.id for one in stages]])
    rows: list[dict[str, Any]] = [
        {**asdict(one), "pipeline_id": pipeline, "position": position}
        for position, one in enumerate(stages, start=1)
    ]
    await tx.execute_many(_PUT_STAGE, rows)


async def _only(on: Verbs, row: _Row | None) -> Pipeline | None:
    return None if row is None else (await _with_stages(on, [row]))[0]


async def _with_stages(on: Verbs, rows: Sequence[_Row]) -> list[Pipeline]:
    found: defaultdict[UUID, list[Stage]] = defaultdict(list)
    for one in await on.fetch_all(_STAGES, [[row.id for row in rows]], row=_StageRow):
        found[one.pipeline_id].append(one.stage())
    return [_made(row, found[row.id]) for row in rows]


def _made(row: _Row, stages: Sequence[Stage]) -> Pipeline:
    return Pipeline(**asdict(row), stages=tuple(stages))
