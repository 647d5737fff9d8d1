"""Pipelines and their stages: made and changed as a whole, so that each one always makes sense."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any
from uuid import UUID

from deal_service.domain.deal import Deal
from deal_service.domain.errors import (
    DefaultPipelineNeeded,
    NameTaken,
    PipelineInUse,
    PipelineNotFound,
)
from deal_service.domain.identity import new_id
from deal_service.domain.pipeline import Pipeline, Stage, check_stages
from deal_service.queries import deals, pipelines
from deal_service.queries.deals import Sum
from mtenant_chassis import AuditTrail
from mtenant_chassis.etag import Condition
from mtenant_database import Tenant, Transaction


@dataclass(frozen=True)
class Board:
    """A pipeline with its deals.

    Attributes:
        pipeline: Which.
        sums: What the open deals of each stage are worth, by currency.
        deals: Those that came last into each stage.
    """

    pipeline: Pipeline
    sums: Sequence[Sum]
    deals: Sequence[Deal]


async def read(on: Tenant | Transaction, pipeline_id: UUID) -> Pipeline:
    """Return a pipeline.

    Raises:
        PipelineNotFound: There is none.
    """
    found = await pipelines.get(on, pipeline_id)
    if found is None:
        raise PipelineNotFound
    return found


async def board(tenant: Tenant, pipeline_id: UUID, *, owner_id: str | None, each: int) -> Board:
    """Return a pipeline with its deals, all as of one moment.

    Raises:
        PipelineNotFound: There is none.
    """
    async with tenant.transaction(isolation="repeatable read", read_only=True) as tx:
        pipeline = await read(tx, pipeline_id)
        stages = [one.id for one in pipeline.stages]
        return Board(
            pipeline,
            await deals.sums(tx, pipeline_id, owner_id=owner_id),
            await deals.cards(tx, stages, owner_id=owner_id, each=each),
        )


class Pipelines:
    """Makes and changes pipelines.

    Args:
        tx: The request's transaction.
        audit: Of the request.
    """

    def __init__(self, tx: Transaction, audit: AuditTrail) -> None:
        self._tx = tx
        self._audit = audit

    async def create(self, name: str, *, is_default: bool, stages: Sequence[Stage]) -> Pipeline:
        """Make a pipeline.

        Raises:
            PipelineInvalid: Its stages make no sense.
            NameTaken: Another one has the name.
        """
        check_stages(stages)
        made = await pipelines.add(self._tx, new_id(), name, is_default=is_default, stages=stages)
        if made is None:
            raise NameTaken(what="name")
        await self._audit.record(
            self._tx, "pipeline.created", "pipeline", made.id, after=_said(made)
        )
        return made

    async def change(
        self, pipeline_id: UUID, given: Mapping[str, Any], if_match: Condition
    ) -> Pipeline:
        """Give a pipeline another name, or make it the default one.

        Raises:
            PipelineNotFound: There is none.
            VersionMismatch: It was changed since it was read.
            NameTaken: Another one has the name.
            DefaultPipelineNeeded: There would be no default one.
        """
        before = await self._lock(pipeline_id, if_match)
        after = replace(before, **given)
        if before.is_default and not after.is_default:
            raise DefaultPipelineNeeded
        if await pipelines.is_name_taken(self._tx, after.name, but=before.id):
            raise NameTaken(what="name")
        return await self._put(before, after)

    async def delete(self, pipeline_id: UUID, if_match: Condition) -> None:
        """Remove a pipeline.

        Raises:
            PipelineNotFound: There is none.
            VersionMismatch: It was changed since it was read.
            DefaultPipelineNeeded: It is the default one.
            PipelineInUse: Deals are in it.
        """
        before = await self._lock(pipeline_id, if_match)
        if before.is_default:
            raise DefaultPipelineNeeded
        if await pipelines.is_in_use(self._tx, pipeline_id):
            raise PipelineInUse(what="pipeline")
        await pipelines.delete(self._tx, pipeline_id)
        await self._audit.record(
            self._tx, "pipeline.deleted", "pipeline", pipeline_id, before=_said(before)
        )

    async def add_stage(
        self, pipeline_id: UUID, stage: Stage, position: int | None, if_match: Condition
    ) -> Pipeline:
        """Add a stage.

        Args:
            pipeline_id: Where.
            stage: Which.
            position: The how-many-th it is to be, from 1; None for the last.
            if_match: Which version of the pipeline is meant.

        Raises:
            PipelineNotFound: There is none.
            VersionMismatch: It was changed since it was read.
            NameTaken: Another stage has the key.
            PipelineInvalid: The pipeline would make no sense.
        """
        before = await self._lock(pipeline_id, if_match)
        if any(one.key == stage.key for one in before.stages):
            raise NameTaken(what="key")
        return await self._put(
            before, replace(before, stages=_inserted(before.stages, stage, position))
        )

    async def change_stage(
        self, pipeline_id: UUID, stage_id: UUID, given: Mapping[str, Any], if_match: Condition
    ) -> Pipeline:
        """Change a stage, or its place. Deals that are in it keep the probability that they have.

        Raises:
            PipelineNotFound, StageNotFound: There is none.
            VersionMismatch: The pipeline was changed since it was read.
            PipelineInvalid: The pipeline would make no sense.
        """
        before = await self._lock(pipeline_id, if_match)
        index = before.index_of(stage_id)
        values = {name: value for name, value in given.items() if name != "position"}
        stage = replace(before.stages[index], **values)
        others = [one for one in before.stages if one.id != stage_id]
        stages = _inserted(others, stage, given.get("position", index + 1))
        return await self._put(before, replace(before, stages=stages))

    async def remove_stage(
        self, pipeline_id: UUID, stage_id: UUID, if_match: Condition
    ) -> Pipeline:
        """Remove a stage.

        Raises:
            PipelineNotFound, StageNotFound: There is none.
            VersionMismatch: The pipeline was changed since it was read.
            PipelineInUse: Deals are in it.
            PipelineInvalid: The pipeline would make no sense, or another stage leads there.
        """
        before = await self._lock(pipeline_id, if_match)
        before.index_of(stage_id)
        if await pipelines.is_stage_in_use(self._tx, stage_id):
            raise PipelineInUse(what="stage")
        stages = tuple(one for one in before.stages if one.id != stage_id)
        return await self._put(before, replace(before, stages=stages))

    async def _lock(self, pipeline_id: UUID, if_match: Condition) -> Pipeline:
        found = await pipelines.lock(self._tx, pipeline_id)
        if found is None:
            raise PipelineNotFound
        if_match.check(found.version)
        return found

    async def _put(self, before: Pipeline, after: Pipeline) -> Pipeline:
        if after == before:
            return before
        check_stages(after.stages)
        made = await pipelines.put(self._tx, after)
        await self._audit.record(
            self._tx,
            "pipeline.changed",
            "pipeline",
            after.id,
            before=_said(before),
            after=_said(made),
        )
        return made


def _inserted(stages: Sequence[Stage], stage: Stage, position: int | None) -> tuple[Stage, ...]:
    at = len(stages) if position is None else position - 1
    return (*stages[:at], stage, *stages[at:])


def _said(pipeline: Pipeline) -> dict[str, Any]:
    return {
        "name": pipeline.name,
        "is_default": pipeline.is_default,
        "stages": [
            {name: value for name, value in asdict(one).items() if name != "id"}
            for one in pipeline.stages
        ],
    }
