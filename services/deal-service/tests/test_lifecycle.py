"""Deals under any order of moves, changes, deletions and restorations: a model beside the service."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, ClassVar
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from deal_service.domain.change import apply
from deal_service.domain.deal import Deal
from deal_service.domain.pipeline import Pipeline, Stage, check_stages
from mtenant_chassis.testing import Place
from mtenant_errors import Unprocessable

MOMENT = datetime(2027, 1, 1, tzinfo=UTC)
OUTCOMES = {"closed_won": "won", "closed_lost": "lost"}
KEYS = ("prospecting", "qualification", "proposal", "negotiation", "closed_won", "closed_lost")
PROBABILITIES = dict(zip(KEYS, (10, 25, 50, 75, 100, 0), strict=True))


@dataclass
class Model:
    """What a deal should be."""

    id: str
    stage: str = "prospecting"
    probability: int = 10
    amount: int = 100
    reason: str | None = None
    deleted: bool = False
    version: int = 1
    visits: list[str] = field(default_factory=lambda: ["prospecting"])
    told: list[str] = field(default_factory=lambda: ["DealCreated"])

    @property
    def status(self) -> str:
        return OUTCOMES.get(self.stage, "open")


class Lifecycle(RuleBasedStateMachine):
    """Asks the running service, and compares."""

    world: ClassVar[Any]
    tenant: ClassVar[str]
    runner: ClassVar[asyncio.Runner]

    def __init__(self) -> None:
        super().__init__()
        made = self.wait(self.world.deal(self.tenant, amount_minor=100))
        self.model = Model(made["id"])

    def wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(coroutine)

    def change(self, **given: Any) -> Any:
        return self.wait(self.world.put(self.tenant, {"id": self.model.id}, **given))

    def ask(self, method: str, path: str = "") -> Any:
        url = f"/api/deals/{self.model.id}{path}"
        headers = self.world.bearer(self.tenant, "manager")
        return self.wait(self.world.http.request(method, url, headers=headers))

    @rule(stage=st.sampled_from(KEYS), reason=st.none() | st.sampled_from(["price", "nonsense"]))
    def move(self, stage: str, reason: str | None) -> None:
        given = {"stage": stage} if reason is None else {"stage": stage, "lost_reason": reason}
        answer, model = self.change(**given), self.model
        outcome = OUTCOMES.get(stage, "open")
        if model.deleted:
            assert answer.status_code == 404
        elif stage != model.stage and "open" not in {model.status, outcome}:
            assert answer.json()["code"] == "TRANSITION_REFUSED"
        elif outcome != "lost" and reason is not None:
            assert answer.json()["code"] == "LOST_REASON_UNWANTED"
        elif outcome == "lost" and reason is None and model.reason is None:
            assert answer.json()["code"] == "LOST_REASON_REQUIRED"
        elif reason == "nonsense":
            assert answer.json()["code"] == "LOST_REASON_UNKNOWN"
        else:
            assert answer.status_code == 200, answer.text
            if stage != model.stage:
                model.stage, model.probability = stage, PROBABILITIES[stage]
                model.reason = reason if outcome == "lost" else None
                model.visits.append(stage)
                model.told.append("DealStageChanged")
                if outcome != "open":
                    model.told.append("DealClosedWon" if outcome == "won" else "DealClosedLost")
                model.version += 1

    @rule(stage=st.sampled_from(["closed_won", "closed_lost"]))
    def close(self, stage: str) -> None:
        self.move(stage, "price" if stage == "closed_lost" else None)

    @rule(amount=st.integers(0, 500))
    def revalue(self, amount: int) -> None:
        answer, model = self.change(amount_minor=amount), self.model
        if model.deleted:
            assert answer.status_code == 404
        elif amount != model.amount and model.status != "open":
            assert answer.json()["code"] == "DEAL_CLOSED"
        else:
            assert answer.status_code == 200
            model.version += amount != model.amount
            model.amount = amount

    @rule()
    def delete(self) -> None:
        answer = self.ask("DELETE")
        assert answer.status_code == (404 if self.model.deleted else 204)
        if not self.model.deleted:
            self.model.deleted, self.model.version = True, self.model.version + 1

    @precondition(lambda self: self.model.deleted)
    @rule()
    def restore(self) -> None:
        assert self.ask("POST", "/restore").status_code == 200
        self.model.deleted, self.model.version = False, self.model.version + 1

    @invariant()
    def the_service_says_what_the_model_is(self) -> None:
        answer, model = self.ask("GET"), self.model
        if model.deleted:
            assert answer.status_code == 404
            return
        deal = answer.json()
        said = (deal["stage"], deal["status"], deal["probability"], deal["amount_minor"])
        assert said == (model.stage, model.status, model.probability, model.amount)
        assert (deal["lost_reason"], deal["version"]) == (model.reason, model.version)
        assert (deal["closed_at"] is None) == (model.status == "open")
        visits = self.ask("GET", "/history").json()["items"]
        assert [one["stage"] for one in visits] == model.visits
        assert all(one["left_at"] == two["entered_at"] for one, two in pairwise(visits))
        assert visits[-1]["entered_at"] == deal["stage_entered_at"]

    def teardown(self) -> None:
        told = [
            type(event).__name__
            for event in self.world.told(self.tenant)
            if event.deal_id == self.model.id
        ]
        assert told == self.model.told


def run_machine(make_world: Any, place: Place, *, examples: int, steps: int) -> None:
    with asyncio.Runner() as runner:
        opened: AbstractAsyncContextManager[Any] = make_world()
        Lifecycle.world = runner.run(opened.__aenter__())
        Lifecycle.tenant, Lifecycle.runner = place.tenant(), runner
        try:
            machine: Any = Lifecycle.TestCase
            machine.settings = settings(
                max_examples=examples, stateful_step_count=steps, deadline=None
            )
            machine("runTest").runTest()
        finally:
            runner.run(opened.__aexit__(None, None, None))


def test_a_deal_is_what_a_model_of_it_is(make_world: Any, place: Place) -> None:
    run_machine(make_world, place, examples=12, steps=12)


@pytest.mark.slow
def test_a_deal_is_what_a_model_of_it_is_for_long(make_world: Any, place: Place) -> None:
    run_machine(make_world, place, examples=200, steps=40)


keys = st.sampled_from(["a", "b", "c", "won", "lost"])


@st.composite
def pipelines(draw: st.DrawFn) -> Pipeline:
    outcomes: dict[str, Any] = {"won": "won", "lost": "lost"}
    stages = tuple(
        Stage(
            id=UUID(int=n),
            key=key,
            name=key,
            probability={"won": 100, "lost": 0}.get(key, 10 * n),
            outcome=outcomes.get(key, "open"),
            next_stages=draw(st.none() | st.none() | st.lists(keys, unique=True)),
        )
        for n, key in enumerate(("a", "b", "c", "won", "lost"))
    )
    check_stages(stages)
    return Pipeline(
        id=UUID(int=99),
        name="P",
        is_default=True,
        stages=stages,
        created_at=MOMENT,
        updated_at=MOMENT,
        version=1,
    )


def deal_in(pipeline: Pipeline) -> Deal:
    stage = pipeline.beginning(None)
    return Deal(
        id=UUID(int=1),
        name="x",
        pipeline_id=pipeline.id,
        stage_id=stage.id,
        stage=stage.key,
        status="open",
        probability=stage.probability,
        amount_minor=1,
        currency="EUR",
        expected_close_date=None,
        owner_id=None,
        lost_reason=None,
        lost_note=None,
        contact_ids=(),
        custom={},
        stage_entered_at=MOMENT,
        closed_at=None,
        created_at=MOMENT,
        updated_at=MOMENT,
        version=1,
    )


changes = st.one_of(
    st.sampled_from([{"stage": key} for key in ("a", "b", "c", "won")]),
    st.just({"stage": "lost", "lost_reason": "price"}),
    st.fixed_dictionaries(
        {},
        optional={
            "stage": keys,
            "amount_minor": st.integers(0, 2),
            "probability": st.sampled_from([0, 50, 100]),
            "lost_reason": st.sampled_from([None, "price"]),
            "lost_note": st.sampled_from([None, "n"]),
        },
    ),
)


@settings(max_examples=200, deadline=None)
@given(pipeline=pipelines(), steps=st.lists(changes, max_size=12))
def test_no_change_leads_to_a_deal_that_makes_no_sense(
    pipeline: Pipeline, steps: list[dict[str, Any]]
) -> None:
    deal = deal_in(pipeline)
    for given_fields in steps:
        try:
            after = apply(deal, given_fields, here=pipeline, there=pipeline, reasons={"price"})
        except Unprocessable:
            continue
        stage = pipeline.stage(after.stage)
        assert (after.stage_id, after.status) == (stage.id, stage.outcome)
        assert (after.status == "lost") == (after.lost_reason is not None)
        assert after.status == "lost" or after.lost_note is None
        assert after.status == "open" or after.probability == stage.probability
        if after.stage != deal.stage:
            before = pipeline.stage(deal.stage)
            assert "open" in {before.outcome, stage.outcome}
            assert before.next_stages is None or stage.key in before.next_stages
        elif deal.status != "open":
            assert after.amount_minor == deal.amount_minor
        untouched = replace(after, amount_minor=deal.amount_minor, probability=deal.probability)
        assert (
            after.stage != deal.stage
            or replace(untouched, lost_reason=deal.lost_reason, lost_note=deal.lost_note) == deal
        )
        deal = after
