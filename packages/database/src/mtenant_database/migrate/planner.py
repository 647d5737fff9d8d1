"""What to do next in a schema: decided from the migrations, its ledger and the target alone."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from mtenant_database.migrate.errors import (
    ChecksumMismatch,
    MigrationMissing,
    OutOfOrder,
    RepairNeeded,
    RequirementMissing,
    UnknownVersion,
)
from mtenant_database.migrate.ledger import Entry, Ledger
from mtenant_database.migrate.migration import History, Migration
from mtenant_database.migrate.script import Requirement, Script

Direction = Literal["up", "down"]


@dataclass(frozen=True)
class Step:
    """A migration, and which way."""

    migration: Migration
    direction: Direction
    script: Script

    def __str__(self) -> str:
        return f"{self.migration} ({self.direction})"


@dataclass(frozen=True)
class Target:
    """Where a schema is wanted.

    Attributes:
        heads: For each component the version to reach.
        contracted: For each component the newest contract migration that may run.
        ceilings: For each component that is to come down, the version above which all is undone.
    """

    heads: Mapping[str, int]
    contracted: Mapping[str, int] = field(default_factory=dict)
    ceilings: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def newest(cls, history: History, *, contract: bool = False) -> Target:
        """Return the target of everything that there is, contract migrations only if asked for."""
        heads = {name: history.of(name)[-1].version for name in history.components}
        return cls(heads, heads if contract else {})

    @classmethod
    def version(cls, history: History, component: str, version: int) -> Target:
        """Return the target of one component at exactly one version.

        Raises:
            UnknownVersion: There is no such version; 0, which is before the first, always is.
        """
        if version != 0:
            history.find(component, version)
        elif component not in history.components:
            raise UnknownVersion(component=component, version=version)
        return cls({component: version}, ceilings={component: version})

    def wants(self, migration: Migration) -> bool:
        """Tell whether a migration belongs to the target."""
        limit = self.contracted if migration.contract else self.heads
        return migration.version <= limit.get(migration.component, 0)


def plan(history: History, ledger: Ledger, target: Target, where: str) -> list[Step]:
    """Return the steps to the target: first those down, then those up.

    Components without a target are left alone.

    Raises:
        RepairNeeded: A no-transaction file stopped half way.
        ChecksumMismatch: A file was changed after it had been applied.
        MigrationMissing: An applied file is no longer there, below ones that are.
        OutOfOrder: A file is older than what has been applied.
        RequirementMissing: What a file requires is neither applied nor part of the target, or two
            files wait for each other, or what is to be undone is still required.
        Irreversible: What is to be undone has no way down.
    """
    check_running(ledger, target.heads, where)
    gone = [
        entry
        for entry in reversed(ledger)
        if entry.version > target.ceilings.get(entry.component, entry.version)
    ]
    down = undo(history, ledger, gone, where)
    left = Ledger(entry for entry in ledger if entry not in gone)
    _check_applied(history, left, target, where)
    return down + _redo(history, left, target, where)


def undo(history: History, ledger: Ledger, gone: Iterable[Entry], where: str) -> list[Step]:
    """Return the steps that undo these rows of the ledger, in their order.

    Raises:
        MigrationMissing, ChecksumMismatch, Irreversible: As `plan`.
        RequirementMissing: What stays requires what is to go.
    """
    gone = list(gone)
    steps = []
    files = {(one.component, one.version): one for one in history}
    for entry in gone:
        file = files.get((entry.component, entry.version))
        if file is None:
            raise MigrationMissing(migration=str(entry), where=where)
        if file.checksum != entry.checksum:
            raise ChecksumMismatch(migration=str(file), where=where)
        steps.append(Step(file, "down", file.way_down(where)))
    left = Ledger(entry for entry in ledger if entry not in gone)
    for entry in left:
        file = files.get((entry.component, entry.version))
        for wanted in file.requires if file is not None else ():
            if ledger.version(wanted.component) >= wanted.version > left.version(wanted.component):
                raise RequirementMissing(
                    migration=str(file),
                    requirement=str(wanted),
                    where=where,
                    hint=f"undo {entry.component} {entry.version} first",
                )
    return steps


def check_running(ledger: Ledger, components: Container[str], where: str) -> None:
    """Refuse to go on while a no-transaction file of these components is half way.

    Raises:
        RepairNeeded: One is. Whoever has the lock of the schema knows that nobody runs it any more.
    """
    for entry in ledger:
        if entry.state != "applied" and entry.component in components:
            raise RepairNeeded(migration=str(entry), where=where, done=entry.done)


def _check_applied(history: History, ledger: Ledger, target: Target, where: str) -> None:
    files = {(one.component, one.version): one for one in history}
    ends = {name: history.of(name)[-1].version for name in history.components}
    for entry in ledger:
        if entry.component not in target.heads:
            continue
        file = files.get((entry.component, entry.version))
        if file is None:
            # Above the newest file it is the work of a newer release, which is none of ours.
            if entry.version < ends.get(entry.component, 0):
                raise MigrationMissing(migration=str(entry), where=where)
        elif file.checksum != entry.checksum:
            raise ChecksumMismatch(migration=str(file), where=where)
    for one in history:
        if one.contract or one.component not in target.heads:
            continue
        newest = ledger.version(one.component)
        if one.version < newest and ledger.find(one.component, one.version) is None:
            raise OutOfOrder(migration=str(one), where=where, newest=newest)


def _redo(history: History, ledger: Ledger, target: Target, where: str) -> list[Step]:
    at = {name: ledger.version(name) for name in {entry.component for entry in ledger}}
    waiting: dict[str, list[Migration]] = {}
    for one in history:
        if target.wants(one) and ledger.find(one.component, one.version) is None:
            waiting.setdefault(one.component, []).append(one)
    steps: list[Step] = []
    while waiting:
        ready = [queue[0] for queue in waiting.values() if _met(queue[0].requires, at)]
        if not ready:
            raise _stuck(waiting, at, where)
        one = min(ready, key=lambda ready: (ready.version, ready.component))
        steps.append(Step(one, "up", one.up))
        if not one.contract:
            at[one.component] = max(at.get(one.component, 0), one.version)
        queue = waiting[one.component]
        del queue[0]
        if not queue:
            del waiting[one.component]
    return steps


def _met(requires: Iterable[Requirement], at: Mapping[str, int]) -> bool:
    return all(at.get(wanted.component, 0) >= wanted.version for wanted in requires)


def _stuck(
    waiting: Mapping[str, list[Migration]], at: Mapping[str, int], where: str
) -> RequirementMissing:
    for queue in waiting.values():
        for wanted in queue[0].requires:
            short = at.get(wanted.component, 0) < wanted.version
            coming = any(one.version >= wanted.version for one in waiting.get(wanted.component, ()))
            if short and not coming:
                return RequirementMissing(
                    migration=str(queue[0]),
                    requirement=str(wanted),
                    where=where,
                    hint=f"register {wanted.component} up to there, and migrate it first",
                )
    one = next(iter(waiting.values()))[0]
    return RequirementMissing(
        migration=str(one),
        requirement=", ".join(map(str, one.requires)),
        where=where,
        hint="they wait for each other in a circle",
    )
