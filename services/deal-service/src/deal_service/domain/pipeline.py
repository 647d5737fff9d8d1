"""Pipelines: stages in their order, and where a deal may go from each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from deal_service.domain.errors import (
    DealClosed,
    PipelineInvalid,
    StageNotFound,
    StageNotOpen,
    StageUnknown,
    TransitionRefused,
)

Outcome = Literal["open", "won", "lost"]

MOST_STAGES: Final = 50
"""Stages of one pipeline, at most."""


@dataclass(frozen=True)
class Stage:
    """A stage of a pipeline.

    Attributes:
        id: Its id.
        key: What requests and events call it; never changed.
        name: What people call it.
        probability: That a deal in it is won, in percent: 100 if it is won, 0 if it is lost.
        outcome: What a deal in it is.
        next_stages: The keys of the stages that may follow; None for any.
    """

    id: UUID
    key: str
    name: str
    probability: int
    outcome: Outcome
    next_stages: Sequence[str] | None = None


@dataclass(frozen=True)
class Pipeline:
    """A pipeline, with its stages in their order.

    Attributes:
        id: Its id.
        name: What people call it.
        is_default: Whether a new deal goes there if it does not say where.
        stages: At least one of each outcome.
        created_at: When it was made.
        updated_at: When it, or one of its stages, was changed.
        version: Grows with every change of it or of its stages.
    """

    id: UUID
    name: str
    is_default: bool
    stages: Sequence[Stage]
    created_at: datetime
    updated_at: datetime
    version: int

    def stage(self, key: str) -> Stage:
        """Return a stage that a request names.

        Raises:
            StageUnknown: There is none.
        """
        found = next((one for one in self.stages if one.key == key), None)
        if found is None:
            raise StageUnknown(stages=", ".join(one.key for one in self.stages))
        return found

    def index_of(self, stage_id: UUID) -> int:
        """Return which one a stage is, from 0.

        Raises:
            StageNotFound: It is none of this pipeline.
        """
        for index, stage in enumerate(self.stages):
            if stage.id == stage_id:
                return index
        raise StageNotFound

    def beginning(self, key: str | None) -> Stage:
        """Return the stage in which a deal comes in.

        Args:
            key: Which one; None for the first open one.

        Raises:
            StageUnknown: There is none.
            StageNotOpen: It is won or lost.
        """
        if key is None:
            return next(one for one in self.stages if one.outcome == "open")
        found = self.stage(key)
        if found.outcome != "open":
            raise StageNotOpen(stage=found.key)
        return found

    def followers(self, stage: Stage) -> list[Stage]:
        """Return the stages to which a deal may go from one of them, in their order.

        From an open stage to any other, from a closed one back to an open one, and always to those
        only that the stage itself allows.
        """
        return [
            one
            for one in self.stages
            if one.key != stage.key
            and "open" in {stage.outcome, one.outcome}
            and (stage.next_stages is None or one.key in stage.next_stages)
        ]

    def step(self, stage: Stage, key: str) -> Stage:
        """Return the stage to which a deal goes.

        Raises:
            StageUnknown: There is none.
            TransitionRefused: The deal may not go there from where it is.
        """
        found, allowed = self.stage(key), self.followers(stage)
        if found not in allowed:
            names = ", ".join(one.key for one in allowed) or "no other stage"
            raise TransitionRefused(stage=stage.key, allowed=names)
        return found


def check_stages(stages: Sequence[Stage]) -> None:
    """Let stages be those of a pipeline.

    Raises:
        PipelineInvalid: Deals could not begin, be won or be lost, or a stage names one that is not there.
    """
    if len(stages) > MOST_STAGES:
        raise PipelineInvalid(why=f"a pipeline has at most {MOST_STAGES} stages")
    keys = Counter(one.key for one in stages)
    if any(count > 1 for count in keys.values()):
        raise PipelineInvalid(why="two stages have one key")
    outcomes = {one.outcome for one in stages}
    for outcome in ("open", "won", "lost"):
        if outcome not in outcomes:
            raise PipelineInvalid(
                why=f"a pipeline has at least one stage with the outcome {outcome}"
            )
    for one in stages:
        if one.outcome != "open" and one.probability != _CERTAIN[one.outcome]:
            why = f"the probability of a stage that is {one.outcome} is {_CERTAIN[one.outcome]}"
            raise PipelineInvalid(why=why)
        if one.next_stages is not None and not set(one.next_stages) <= keys.keys():
            raise PipelineInvalid(why=f"{one.key} is followed by a stage that is not there")


_CERTAIN: Final = {"won": 100, "lost": 0}


def certain(outcome: Outcome) -> int | None:
    """Return the probability that an outcome says; None for an open stage, which says its own."""
    return _CERTAIN.get(outcome)


def check_open(status: str) -> None:
    """Let what a deal is worth be changed.

    Raises:
        DealClosed: The deal is closed.
    """
    if status != "open":
        raise DealClosed(status=status)
