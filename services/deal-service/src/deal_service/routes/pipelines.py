"""Routes of pipelines and their stages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Body as InBody
from fastapi import Query, Response
from pydantic import BaseModel, Field, with_config
from typing_extensions import TypedDict

from deal_service.domain.identity import new_id
from deal_service.domain.money import weighted
from deal_service.domain.pipeline import MOST_STAGES, Outcome, Pipeline, Stage, certain
from deal_service.domain.text import Key, Name, Owner
from deal_service.handlers.pipelines import Board, Pipelines, board, read
from deal_service.queries import pipelines
from deal_service.routes.body import STRICT, Body
from deal_service.routes.deals import DealView, Probability
from mtenant_chassis import (
    Audit,
    IfMatch,
    Router,
    Tenant,
    Tx,
    idempotent,
    raises,
    requires,
    set_etag,
)

NextStages = Annotated[
    list[Key] | None,
    Field(max_length=MOST_STAGES, description="keys of the stages that may follow; null: any"),
]
Position = Annotated[int, Field(ge=1, le=MOST_STAGES, description="from 1; without it the last")]


class NewStage(Body):
    """A stage. One that is won has probability 100, one that is lost 0."""

    key: Key
    name: Name
    outcome: Outcome = "open"
    probability: Probability | None = Field(
        default=None, description="of an open stage, in percent; needed there"
    )
    next_stages: NextStages = None

    def stage(self) -> Stage:
        """Return the stage that is wanted."""
        usual = certain(self.outcome)
        asked = self.probability if self.probability is not None else usual
        return Stage(
            id=new_id(),
            key=self.key,
            name=self.name,
            probability=asked if asked is not None else 0,
            outcome=self.outcome,
            next_stages=self.next_stages,
        )


class PlacedStage(NewStage):
    """A stage, and where it comes."""

    position: Position | None = None


@with_config(STRICT)
class StageChange(TypedDict, total=False):
    """Fields of a stage; what is left out stays as it is. Key and outcome never change."""

    name: Name
    probability: Probability
    next_stages: NextStages
    position: Position


class NewPipeline(Body):
    """A pipeline with its stages in their order, at least one of each outcome."""

    name: Name
    is_default: bool = False
    stages: Annotated[list[NewStage], Field(min_length=3, max_length=MOST_STAGES)]


@with_config(STRICT)
class PipelineChange(TypedDict, total=False):
    """Fields of a pipeline; what is left out stays as it is."""

    name: Name
    is_default: bool


class StageView(BaseModel):
    """A stage."""

    id: UUID
    key: str
    name: str
    position: int
    probability: int
    outcome: Outcome
    next_stages: list[str] | None
    allowed: list[str] = Field(description="keys of the stages to which a deal may go from here")


class PipelineView(BaseModel):
    """A pipeline with its stages in their order."""

    id: UUID
    name: str
    is_default: bool
    stages: list[StageView]
    created_at: datetime
    updated_at: datetime
    version: int

    @classmethod
    def of(cls, one: Pipeline) -> PipelineView:
        """Return what may be seen of a pipeline."""
        stages = [_view(one, stage, position) for position, stage in enumerate(one.stages, 1)]
        return cls(
            id=one.id,
            name=one.name,
            is_default=one.is_default,
            stages=stages,
            created_at=one.created_at,
            updated_at=one.updated_at,
            version=one.version,
        )


def _view(pipeline: Pipeline, stage: Stage, position: int) -> StageView:
    return StageView(
        id=stage.id,
        key=stage.key,
        name=stage.name,
        position=position,
        probability=stage.probability,
        outcome=stage.outcome,
        next_stages=None if stage.next_stages is None else list(stage.next_stages),
        allowed=[one.key for one in pipeline.followers(stage)],
    )


class PipelineList(BaseModel):
    """All pipelines, the oldest first."""

    items: list[PipelineView]


class Worth(BaseModel):
    """What deals are worth in a currency."""

    currency: str
    deals: int
    amount_minor: int
    weighted_minor: int = Field(description="times their probabilities, rounded once")


class Column(BaseModel):
    """A stage with its deals."""

    stage: StageView
    worth: list[Worth] = Field(
        description="of an open stage, by currency; analytics says it of closed ones"
    )
    deals: list[DealView] = Field(description="those that came last, the last one first")


class BoardView(BaseModel):
    """A pipeline with its deals, stage by stage."""

    pipeline_id: UUID
    name: str
    columns: list[Column]

    @classmethod
    def of(cls, found: Board) -> BoardView:
        """Return what may be seen of it."""
        columns = [
            Column(
                stage=_view(found.pipeline, stage, position),
                worth=[
                    Worth(
                        currency=one.currency,
                        deals=one.deals,
                        amount_minor=one.amount,
                        weighted_minor=weighted(one.weighted),
                    )
                    for one in found.sums
                    if one.stage_id == stage.id
                ],
                deals=[DealView.of(one) for one in found.deals if one.stage_id == stage.id],
            )
            for position, stage in enumerate(found.pipeline.stages, 1)
        ]
        return cls(pipeline_id=found.pipeline.id, name=found.pipeline.name, columns=columns)


def pipelines_router() -> Router:
    """Return the routes of pipelines."""
    router = Router(prefix="/api/pipelines", tags=["pipelines"])

    @router.get("", dependencies=[requires("pipelines:read")])
    async def list_pipelines(tenant: Tenant) -> PipelineList:
        """List all pipelines, with their stages."""
        async with tenant.transaction(isolation="repeatable read", read_only=True) as tx:
            return PipelineList(items=[PipelineView.of(one) for one in await pipelines.every(tx)])

    @router.post(
        "",
        status_code=201,
        dependencies=[requires("pipelines:manage"), idempotent()],
        responses=raises(409),
    )
    async def create(asked: NewPipeline, tx: Tx, audit: Audit, response: Response) -> PipelineView:
        """Make a pipeline."""
        made = await Pipelines(tx, audit).create(
            asked.name, is_default=asked.is_default, stages=[one.stage() for one in asked.stages]
        )
        response.headers["location"] = f"/api/pipelines/{made.id}"
        return _told(made, response)

    @router.get("/{pipeline_id}", dependencies=[requires("pipelines:read")])
    async def get(pipeline_id: UUID, tenant: Tenant, response: Response) -> PipelineView:
        """Return a pipeline, with its stages."""
        async with tenant.transaction(isolation="repeatable read", read_only=True) as tx:
            return _told(await read(tx, pipeline_id), response)

    @router.get("/{pipeline_id}/board", dependencies=[requires("deals:read")])
    async def view(
        pipeline_id: UUID,
        tenant: Tenant,
        owner_id: Annotated[Owner | None, Query()] = None,
        each: Annotated[int, Query(ge=0, le=100, description="deals of a stage")] = 20,
    ) -> BoardView:
        """Return the pipeline view: each stage, what its deals are worth, and the newest of them."""
        return BoardView.of(await board(tenant, pipeline_id, owner_id=owner_id, each=each))

    @router.patch(
        "/{pipeline_id}", dependencies=[requires("pipelines:manage")], responses=raises(409)
    )
    async def change(
        *,
        pipeline_id: UUID,
        asked: Annotated[PipelineChange, InBody()],
        tx: Tx,
        audit: Audit,
        if_match: IfMatch,
        response: Response,
    ) -> PipelineView:
        """Give it another name, or make it the default one."""
        given: Mapping[str, Any] = asked
        return _told(await Pipelines(tx, audit).change(pipeline_id, given, if_match), response)

    @router.delete(
        "/{pipeline_id}",
        status_code=204,
        dependencies=[requires("pipelines:manage")],
        responses=raises(409, 422),
    )
    async def delete(pipeline_id: UUID, tx: Tx, audit: Audit, if_match: IfMatch) -> None:
        """Remove it; no deal may be in it."""
        await Pipelines(tx, audit).delete(pipeline_id, if_match)

    @router.post(
        "/{pipeline_id}/stages",
        status_code=201,
        dependencies=[requires("pipelines:manage"), idempotent()],
        responses=raises(409),
    )
    async def add_stage(
        *,
        pipeline_id: UUID,
        asked: PlacedStage,
        tx: Tx,
        audit: Audit,
        if_match: IfMatch,
        response: Response,
    ) -> PipelineView:
        """Add a stage."""
        made = await Pipelines(tx, audit).add_stage(
            pipeline_id, asked.stage(), asked.position, if_match
        )
        response.headers["location"] = f"/api/pipelines/{pipeline_id}"
        return _told(made, response)

    @router.patch(
        "/{pipeline_id}/stages/{stage_id}",
        dependencies=[requires("pipelines:manage")],
        responses=raises(409),
    )
    async def change_stage(
        *,
        pipeline_id: UUID,
        stage_id: UUID,
        asked: Annotated[StageChange, InBody()],
        tx: Tx,
        audit: Audit,
        if_match: IfMatch,
        response: Response,
    ) -> PipelineView:
        """Change a stage, or its place. A new probability is that of deals that come from now on."""
        given: Mapping[str, Any] = asked
        changed = await Pipelines(tx, audit).change_stage(pipeline_id, stage_id, given, if_match)
        return _told(changed, response)

    @router.delete(
        "/{pipeline_id}/stages/{stage_id}",
        dependencies=[requires("pipelines:manage")],
        responses=raises(409, 422),
    )
    async def remove_stage(
        *,
        pipeline_id: UUID,
        stage_id: UUID,
        tx: Tx,
        audit: Audit,
        if_match: IfMatch,
        response: Response,
    ) -> PipelineView:
        """Remove a stage; no deal may be in it."""
        changed = await Pipelines(tx, audit).remove_stage(pipeline_id, stage_id, if_match)
        return _told(changed, response)

    return router


def _told(one: Pipeline, response: Response) -> PipelineView:
    set_etag(response, one.version)
    return PipelineView.of(one)
