"""A run over the fleet: its workers, its failures, its report."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack

from mtenant_database.migrate import planner
from mtenant_database.migrate.ledger import Ledger, Place
from mtenant_database.migrate.link import Link
from mtenant_database.migrate.migration import History
from mtenant_database.migrate.planner import Step
from mtenant_database.migrate.progress import Progress, Silence
from mtenant_database.migrate.report import Report, Result
from mtenant_database.migrate.rollout import Rollout
from mtenant_database.migrate.settings import MigrateSettings
from mtenant_database.migrate.survey import Question, Standing
from mtenant_database.migrate.work import Work
from mtenant_errors import AppError


class Run:
    """One run: its workers, and what has come of each tenant so far."""

    def __init__(
        self,
        conninfo: str,
        settings: MigrateSettings,
        question: Question,
        rollout: Rollout | None,
        progress: Progress | None,
    ) -> None:
        self._conninfo = conninfo
        self._settings = settings
        self._question = question
        self._rollout = rollout or Rollout()
        self._progress = progress or Silence()
        self._results: dict[str, Result] = {}
        self._planned: dict[str, None] = {}  # in the order of the plan, each once
        self._budget = 0
        self._canary: bool | None = None
        self.report = Report()

    @property
    def failed(self) -> set[str]:
        """The tenants that are not tried again in this run."""
        return {name for name, one in self._results.items() if one.outcome != "migrated"}

    async def round(self, left: dict[str, list[Standing]], history: History) -> None:
        """Work on what one survey has found, group by group, until all is done or the run aborted."""
        self._progress.planned(len(left))
        self._budget = max(self._budget, self._rollout.budget(len(left)))
        rollout = self._rollout
        for canary, names in rollout.groups([*left]):
            self._canary = canary and self._canary is None
            if self.report.aborted is None:
                await self._group({name: left[name] for name in names}, history)
            for name in names:
                self._results.setdefault(name, Result(name, "skipped"))
        self._canary = False
        self._planned |= dict.fromkeys(left)
        self.report.results = [self._results[name] for name in self._planned]

    async def _group(self, jobs: dict[str, list[Standing]], history: History) -> None:
        waiting = iter(jobs.items())
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as workers:
            for _ in range(min(self._rollout.parallel, len(jobs))):
                link = await stack.enter_async_context(Link(self._conninfo))
                workers.create_task(self._worker(link, waiting, history))

    async def _worker(
        self, link: Link, waiting: Iterator[tuple[str, list[Standing]]], history: History
    ) -> None:
        for tenant, standings in waiting:
            if self.report.aborted is not None:
                return
            result = await self._tenant(link, tenant, standings, history)
            known = self._results.get(tenant)
            if known is not None and not result.steps and result.outcome == "migrated":
                # The registry says that it is behind, and its ledger that it is not.
                result = Result(tenant, "failed", error="the registry does not follow the ledger")
            self._results[tenant] = result
            self._progress.finished(result)
            self._judge(result)

    def _judge(self, result: Result) -> None:
        if result.outcome != "failed" or self.report.aborted is not None:
            return
        failures = sum(one.outcome == "failed" for one in self._results.values())
        if self._canary:
            self.report.aborted = f"the canary {result.tenant} failed"
        elif failures > self._budget:
            self.report.aborted = f"{failures} tenants failed, and {self._budget} may"

    async def _tenant(
        self, link: Link, tenant: str, standings: list[Standing], history: History
    ) -> Result:
        work = Work(link, Place.of_tenant(tenant), self._settings)
        target, where = self._question.target(standings), str(work.place)
        start, steps = time.perf_counter(), []

        def choose(ledger: Ledger) -> list[Step]:
            return planner.plan(history, ledger, target, where)

        try:
            while (done := await work.step(choose)) is not None:
                steps.append(str(done.step))
                if done.left == 0:
                    break
        except AppError as exc:
            if getattr(exc, "lost", False) and self.report.aborted is None:
                # It is not about this tenant: all of the others would only wait as long.
                self.report.aborted = f"the server was lost at {tenant}"
            return Result.of_error(
                tenant,
                exc,
                steps=tuple(steps),
                retries=work.retries,
                seconds=time.perf_counter() - start,
            )
        return Result(tenant, "migrated", tuple(steps), work.retries, time.perf_counter() - start)
