"""Time rival ways of doing one thing beside each other, and report ratios.

A shared machine drifts by tens of percent within a second, so an absolute time says little. Every
round runs each case once, in a new order, and a ratio is taken inside its round; what is reported
is the median of the rounds.
"""

from __future__ import annotations

import gc
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

RESULTS = Path("build/bench")


@dataclass(frozen=True)
class Case:
    """One way of doing the thing: `run(n)` does it `n` times, and returns when all of it is done."""

    name: str
    run: Callable[[int], object]


@dataclass(frozen=True)
class Bound:
    """A promise: `subject` costs at most `at_most` times what `peer` costs."""

    subject: str
    peer: str
    at_most: float


@dataclass
class Comparison:
    """Cases of one kind of work, with what is promised about them."""

    title: str
    cases: list[Case]
    bounds: list[Bound]
    rounds: int = 31
    seconds_a_turn: float = 0.02
    per_call: dict[str, float] = field(default_factory=dict, init=False)
    ratios: dict[Bound, list[float]] = field(default_factory=dict, init=False)
    unit: ClassVar[str] = "us"
    scale: ClassVar[float] = 1e6
    """Of what is printed, per second or whatever else a sample is in."""

    def run(self) -> bool:
        """Time every case, print the table, and tell whether all bounds were met."""
        turns = {case.name: self._calibrate(case) for case in self.cases}
        samples: dict[str, list[float]] = {case.name: [] for case in self.cases}
        order = list(self.cases)
        shuffle = random.Random(0).shuffle
        gc.collect()
        gc.disable()
        try:
            for _ in range(self.rounds):
                shuffle(order)
                for case in order:
                    samples[case.name].append(self._sample(case, turns[case.name]))
                gc.collect(0)
        finally:
            gc.enable()
        self.per_call = {name: statistics.median(times) for name, times in samples.items()}
        self.ratios = {
            bound: [
                mine / theirs
                for mine, theirs in zip(samples[bound.subject], samples[bound.peer], strict=True)
            ]
            for bound in self.bounds
        }
        self._print()
        return all(self.met(bound) for bound in self.bounds)

    def met(self, bound: Bound) -> bool:
        """Tell whether the median ratio keeps the promise."""
        return statistics.median(self.ratios[bound]) <= bound.at_most

    def as_dict(self) -> dict[str, object]:
        """Return the figures for the JSON report; times are seconds a call."""
        return {
            "title": self.title,
            "rounds": self.rounds,
            "seconds_per_call": self.per_call,
            "bounds": [
                {
                    "subject": bound.subject,
                    "peer": bound.peer,
                    "ratio": statistics.median(ratios),
                    "quartiles": statistics.quantiles(ratios, n=4),
                    "at_most": bound.at_most,
                    "met": self.met(bound),
                }
                for bound, ratios in self.ratios.items()
            ],
        }

    def _calibrate(self, case: Case) -> int:
        case.run(10)
        n = 10
        while (elapsed := _time(case, n) * n) < self.seconds_a_turn / 2:
            n = max(n * 2, int(n * self.seconds_a_turn / max(elapsed, 1e-6) / 2))
        return max(1, int(n * self.seconds_a_turn / elapsed))

    def _sample(self, case: Case, turn: int) -> float:
        return _time(case, turn)

    def _print(self) -> None:
        print(f"\n{self.title}")
        for name, seconds in sorted(self.per_call.items(), key=lambda item: item[1]):
            print(f"  {name:<44}{seconds * self.scale:>11.3f} {self.unit}")
        for bound, ratios in self.ratios.items():
            low, middle, high = statistics.quantiles(ratios, n=4)
            verdict = "ok" if self.met(bound) else "MISSED"
            print(
                f"  {bound.subject} / {bound.peer}: {middle:.2f}"
                f" (quartiles {low:.2f} to {high:.2f}), at most {bound.at_most:g}: {verdict}"
            )


def _time(case: Case, n: int) -> float:
    start = time.perf_counter()
    case.run(n)
    return (time.perf_counter() - start) / n


def report(suite: str, comparisons: list[Comparison]) -> int:
    """Run a suite and write `build/bench/<suite>.json`; the exit status is 1 if a bound was missed."""
    met = [comparison.run() for comparison in comparisons]
    RESULTS.mkdir(parents=True, exist_ok=True)
    target = RESULTS / f"{suite}.json"
    figures = {
        "suite": suite,
        "python": sys.version.split()[0],
        "comparisons": [comparison.as_dict() for comparison in comparisons],
    }
    target.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(f"\nwritten to {target}")
    return 0 if all(met) else 1
