"""What a change makes of a deal: the rules of its lifecycle, in one place."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from deal_service.domain.deal import Deal
from deal_service.domain.errors import (
    DealClosed,
    LostReasonRequired,
    LostReasonUnknown,
    LostReasonUnwanted,
)
from deal_service.domain.pipeline import Pipeline, Stage, certain, check_open

_WORTH = ("amount_minor", "currency")


def apply(
    deal: Deal,
    given: Mapping[str, Any],
    *,
    here: Pipeline,
    there: Pipeline,
    reasons: Collection[str],
) -> Deal:
    """Return the deal as it is after a change; its times are those of before.

    Args:
        deal: As it is.
        given: The fields that the request has, by their names.
        here: Its pipeline.
        there: The pipeline where it is to be: the same one, mostly.
        reasons: The keys of the reasons for which deals may be lost.

    Raises:
        Unprocessable: A rule forbids it; `deal_service.domain.errors` has one class for each.
    """
    stage = _destination(deal, given, here=here, there=there)
    moved = stage.id != deal.stage_id
    changed = replace(
        deal,
        name=given.get("name", deal.name),
        expected_close_date=given.get("expected_close_date", deal.expected_close_date),
        owner_id=given.get("owner_id", deal.owner_id),
        custom=given.get("custom", deal.custom),
        pipeline_id=there.id,
        stage_id=stage.id,
        stage=stage.key,
        status=stage.outcome,
        amount_minor=given.get("amount_minor", deal.amount_minor),
        currency=given.get("currency", deal.currency),
        probability=_probability(deal, given, stage, moved=moved),
    )
    if not moved and any(getattr(changed, name) != getattr(deal, name) for name in _WORTH):
        check_open(deal.status)
    return _with_reason(changed, given, deal.lost_reason, reasons)


def _destination(deal: Deal, given: Mapping[str, Any], *, here: Pipeline, there: Pipeline) -> Stage:
    key: str | None = given.get("stage")
    if there.id != here.id:
        check_open(deal.status)
        return there.beginning(key)
    current = here.stages[here.index_of(deal.stage_id)]
    return current if key is None or key == current.key else here.step(current, key)


def _probability(deal: Deal, given: Mapping[str, Any], stage: Stage, *, moved: bool) -> int:
    usual = stage.probability if moved else deal.probability
    asked: int = given.get("probability", usual)
    if certain(stage.outcome) not in {None, asked}:
        raise DealClosed(status=stage.outcome)
    return asked


def _with_reason(
    deal: Deal, given: Mapping[str, Any], before: str | None, reasons: Collection[str]
) -> Deal:
    reason, note = given.get("lost_reason"), given.get("lost_note")
    if deal.status != "lost":
        if reason is not None or note is not None:
            raise LostReasonUnwanted
        return replace(deal, lost_reason=None, lost_note=None)
    reason = given.get("lost_reason", before)
    if reason is None:
        raise LostReasonRequired
    if reason not in reasons and reason != before:  # one that was taken out of use may stay
        raise LostReasonUnknown(reasons=", ".join(sorted(reasons)) or "none")
    return replace(deal, lost_reason=reason, lost_note=given.get("lost_note", deal.lost_note))


def difference(before: Deal, after: Deal, names: Collection[str]) -> dict[str, Any]:
    """Return the fields of the second that the first has not alike."""
    return {
        name: getattr(after, name)
        for name in names
        if getattr(after, name) != getattr(before, name)
    }


def pipeline_of(deal: Deal, given: Mapping[str, Any]) -> UUID:
    """Return the pipeline where a deal is to be."""
    found: UUID = given.get("pipeline_id", deal.pipeline_id)
    return found
