"""The migrator of one schema: the files of one component, applied to it in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from mtenant_database.migrate import planner
from mtenant_database.migrate.adoption import Tool, adopt
from mtenant_database.migrate.errors import MigrationFileInvalid, NotInstalled
from mtenant_database.migrate.installation import prepare
from mtenant_database.migrate.ledger import Entry, Ledger, Place
from mtenant_database.migrate.link import Link
from mtenant_database.migrate.migration import History
from mtenant_database.migrate.planner import Step, Target
from mtenant_database.migrate.repair import How, repair
from mtenant_database.migrate.settings import MigrateSettings
from mtenant_database.migrate.work import Done, Work

Condition = Literal["applied", "pending", "contract", "running", "reverting", "changed", "missing"]


@dataclass(frozen=True)
class Status:
    """One line of what has been done to a schema.

    Attributes:
        component: Whose migration it is.
        version: Its version.
        name: Its name.
        condition: `contract` waits for `--contract`; `changed` was applied from another text;
            `missing` was applied and is not among the files.
    """

    component: str
    version: int
    name: str
    condition: Condition


def status_of(history: History, ledger: Ledger) -> list[Status]:
    """Compare migrations with a ledger, by version."""
    lines = [_status(one.component, one.version, history, ledger) for one in history]
    files = {(one.component, one.version) for one in history}
    lines += [
        Status(entry.component, entry.version, entry.name, "missing")
        for entry in ledger
        if entry.component in history.components and (entry.component, entry.version) not in files
    ]
    return sorted(lines, key=lambda line: (line.component, line.version))


def _status(component: str, version: int, history: History, ledger: Ledger) -> Status:
    file, entry = history.find(component, version), ledger.find(component, version)
    if entry is None:
        return Status(component, version, file.name, "contract" if file.contract else "pending")
    condition: Condition = entry.state
    if condition == "applied" and entry.checksum != file.checksum:
        condition = "changed"
    return Status(component, version, file.name, condition)


class Migrator:
    """Migrates one schema: `async with Migrator(conninfo, files, schema="crm") as migrator`.

    A tenant's schema is migrated by `Fleet`, which keeps the registry in step.

    Args:
        conninfo: A URL or a connection string of a role that may do DDL.
        migrations: Those of one component, such as `read_migrations(...).tenant`.
        schema: Where they go. It has to be there, but for `shared`, which is made.
        settings: Roles and patience.

    Raises:
        MigrationFileInvalid: The migrations are of several components.
    """

    def __init__(
        self,
        conninfo: str,
        migrations: History,
        *,
        schema: str,
        settings: MigrateSettings | None = None,
    ) -> None:
        if len(migrations.components) > 1:
            names = ", ".join(migrations.components)
            raise MigrationFileInvalid(where=names, problem="a Migrator takes one component")
        self.migrations = migrations
        self.place = Place(schema)
        self.settings = settings or MigrateSettings()
        self._link = Link(conninfo)
        self._work = Work(self._link, self.place, self.settings)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._link.close()

    @property
    def retries(self) -> int:
        """How often a lock has stood in the way so far."""
        return self._work.retries

    async def up(self, *, contract: bool = False) -> list[Done]:
        """Apply what is pending, each version in its own transaction.

        Args:
            contract: Whether contract migrations run, too.

        Raises:
            AppError: As `Work.step` and `planner.plan`. What was applied before stays applied.
        """
        return await self._to(Target.newest(self.migrations, contract=contract))

    async def to(self, version: int) -> list[Done]:
        """Go to exactly a version, up or down; 0 is before the first.

        Raises:
            UnknownVersion: There is no such version.
            AppError: As `up`.
        """
        if not self.migrations:
            return []
        component = self.migrations.components[0]
        return await self._to(Target.version(self.migrations, component, version))

    async def down(self, count: int = 1) -> list[Done]:
        """Undo the migrations that were applied last.

        Args:
            count: How many.

        Raises:
            Irreversible: One has no way down. None is undone then.
            AppError: As `up`.
        """
        if count < 1:
            raise ValueError(f"down takes a count of 1 or more, not {count}")
        await self.prepare()
        ledger, where = await self._work.read(), str(self.place)
        names = self.migrations.components
        gone = [entry for entry in reversed(ledger) if entry.component in names][:count]

        def choose(ledger: Ledger) -> list[Step]:
            planner.check_running(ledger, names, where)
            left = [entry for entry in gone if entry in ledger]
            return planner.undo(self.migrations, ledger, left, where)

        return await self._walk(choose)

    async def status(self) -> list[Status]:
        """Return what has been applied and what is pending. This changes nothing."""
        return status_of(self.migrations, await self._read())

    async def repair(self, how: How) -> list[Entry]:
        """Mend no-transaction files that stopped half way; return their rows as they were.

        Args:
            how: `retry` goes on where they stopped, `applied` and `reverted` say what you made of
                the schema by hand. Indexes that were left invalid are dropped.
        """
        await self.prepare()
        return await repair(self._work, self.migrations, how)

    async def adopt(self, tool: Tool, *, table: str | None = None) -> list[Entry]:
        """Take over what another tool has applied; return the new rows. Its table stays.

        Raises:
            AdoptionRefused: The table is not there, is dirty, or knows what the files do not.
        """
        await self.prepare()
        return await adopt(self._work, self.migrations, tool, table)

    async def prepare(self) -> None:
        """Make the ledger, and the schema `shared`, if they are not there.

        Raises:
            NotInstalled: There is no such schema.
        """
        await prepare(self._work)

    async def _read(self) -> Ledger:
        try:
            return await self._work.read()
        except NotInstalled:
            return Ledger()

    async def _to(self, target: Target) -> list[Done]:
        where = str(self.place)
        await self.prepare()
        return await self._walk(lambda ledger: planner.plan(self.migrations, ledger, target, where))

    async def _walk(self, choose: Callable[[Ledger], list[Step]]) -> list[Done]:
        made = []
        while (one := await self._work.step(choose)) is not None:
            made.append(one)
            if one.left == 0:
                break
        return made
