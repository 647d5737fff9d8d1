"""The fleet: every tenant's schema is brought to where the registry wants it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Self, TypeVar

from mtenant_database.migrate import registration
from mtenant_database.migrate.adoption import Tool, adopt
from mtenant_database.migrate.contract import release
from mtenant_database.migrate.errors import UnknownVersion
from mtenant_database.migrate.installation import install
from mtenant_database.migrate.ledger import Entry, Place
from mtenant_database.migrate.link import Link
from mtenant_database.migrate.migration import History
from mtenant_database.migrate.progress import Progress
from mtenant_database.migrate.registration import Registration, read_registered
from mtenant_database.migrate.repair import How, repair
from mtenant_database.migrate.report import Report, Result
from mtenant_database.migrate.rollout import Rollout
from mtenant_database.migrate.run import Run
from mtenant_database.migrate.settings import MigrateSettings
from mtenant_database.migrate.survey import Question, Standing, check_names, survey
from mtenant_database.migrate.transaction import in_transaction
from mtenant_database.migrate.work import Work
from mtenant_errors import AppError

T = TypeVar("T")


class Fleet:
    """Migrates the schemas of all tenants: `async with Fleet(conninfo) as fleet`.

    A run asks the registry which tenants are behind, works on them, and asks again until there is
    nobody left. So a run that was interrupted is resumed by running it again, two runs at once share
    the work, and a tenant that was added meanwhile is not forgotten.

    Args:
        conninfo: A URL or a connection string of a role that may take the owner's.
        settings: Roles and patience.
    """

    def __init__(self, conninfo: str, *, settings: MigrateSettings | None = None) -> None:
        self._conninfo = conninfo
        self.settings = settings or MigrateSettings()
        self._link = Link(conninfo)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._link.close()

    async def install(self) -> None:
        """Make or upgrade the tables of the registry, and grant the application what it may read.

        A second time nothing changes.

        Raises:
            AppError: The server refused, for example because the owner may not create a schema.
        """
        await install(self._link, self.settings)

    async def register(self, migrations: History) -> dict[str, Registration]:
        """Register tenant migrations, all or none of them; return what changed, by component.

        Raises:
            RuleBroken: A file says what no tenant's file may say.
            ChecksumMismatch: A changed file has been applied to a tenant.
            OutOfOrder, MigrationMissing: The files do not continue what is registered.
            NotInstalled: There is no registry.
        """

        async def act(link: Link) -> dict[str, Registration]:
            return {
                name: await registration.register(link, name, migrations.of(name))
                for name in migrations.components
            }

        return await self._in_transaction(act)

    async def status(self, tenants: Iterable[str] | None = None) -> dict[str, list[Standing]]:
        """Return where each tenant stands with each component, in one query.

        Raises:
            UnknownTenant: One that is named is neither active nor suspended.
            NotInstalled: There is no registry.
        """
        question = Question(tenants=_set(tenants))
        await self._check_names(question)
        return await self._survey(question, everybody=True)

    async def up(
        self,
        components: Iterable[str] | None = None,
        *,
        tenants: Iterable[str] | None = None,
        contract: bool = False,
        rollout: Rollout | None = None,
        progress: Progress | None = None,
    ) -> Report:
        """Bring tenants to the head of each component. With nothing to do this is one query.

        Args:
            components: Only these; None for all.
            tenants: Only these; None for all that are active or suspended.
            contract: Release the contract migrations of the components, and run them, too.
            rollout: Who first, how many at once, when to stop.
            progress: Who wants to know.

        Raises:
            ContractRefused: A tenant is below what a contract migration requires.
            UnknownTenant: One that is named is neither active nor suspended.
            UnknownVersion: Nothing is registered of a component.
            NotInstalled: There is no registry.
        """
        question = Question(_set(components), _set(tenants))
        await self._check_names(question, rollout)
        if contract:
            await self._in_transaction(lambda link: release(link, question.components))
        return await self._run(question, rollout, progress)

    async def to(
        self,
        component: str,
        version: int,
        *,
        tenants: Iterable[str] | None = None,
        rollout: Rollout | None = None,
        progress: Progress | None = None,
    ) -> Report:
        """Bring tenants to exactly a version of a component, up or down.

        Unless only some are named, it becomes the version at which tenants are wanted, new ones too,
        until a newer one is registered or asked for.

        Raises:
            UnknownVersion: The component has no such version; 0 is before the first.
            UnknownTenant: One that is named is neither active nor suspended.
        """
        names = _set(tenants)
        await self._check_names(Question(tenants=names), rollout)
        head = await self._aim(component, version, names)
        question = Question(frozenset([component]), names, version, head)
        return await self._run(question, rollout, progress)

    async def rollback(
        self,
        component: str,
        version: int,
        *,
        tenants: Iterable[str] | None = None,
        rollout: Rollout | None = None,
        progress: Progress | None = None,
    ) -> Report:
        """Bring every tenant above a version of a component down to it; the others stay.

        Unless only some are named, it becomes the version at which tenants are wanted.

        Raises:
            UnknownVersion: The component has no such version; 0 is before the first.
            UnknownTenant: One that is named is neither active nor suspended.
        """
        names = _set(tenants)
        await self._check_names(Question(tenants=names), rollout)
        await self._aim(component, version, names)
        question = Question(frozenset([component]), names, version)
        return await self._run(question, rollout, progress)

    async def below(self, component: str, count: int) -> int:
        """Return the version so many below the newest that any tenant has: what `down N` means.

        Raises:
            UnknownVersion: Nobody has the component.
            ValueError: The count is less than 1.
        """
        if count < 1:
            raise ValueError(f"down takes a count of 1 or more, not {count}")
        standings = await self._survey(Question(frozenset([component])), everybody=True)
        newest = max((max(one.version, one.contract) for [one] in standings.values()), default=0)
        if newest == 0:
            raise UnknownVersion(f"no tenant has a migration of {component}")
        files = await self._history([component])
        versions = [0, *(one.version for one in files if one.version <= newest)]
        return versions[max(0, len(versions) - 1 - count)]

    async def repair(self, how: How, *, tenants: Iterable[str] | None = None) -> Report:
        """Mend no-transaction files that stopped half way; the report names the tenants that had any.

        One that cannot be mended is no reason to leave out the others.

        Args:
            how: `retry` goes on where they stopped, `applied` and `reverted` say what you made of
                the schema by hand. Indexes that were left invalid are dropped.
            tenants: Only these; None for all.

        Raises:
            UnknownTenant: One that is named is neither active nor suspended.
            MigrationFailed: The server was lost.
        """
        question = Question(tenants=_set(tenants))
        await self._check_names(question)
        history = await self._history(None)
        start, report = time.perf_counter(), Report()
        for tenant in await self._survey(question, everybody=True):
            if (result := await self._mend(tenant, history, how)) is not None:
                report.results.append(result)
        report.seconds = time.perf_counter() - start
        return report

    async def _mend(self, tenant: str, history: History, how: How) -> Result | None:
        work, start = Work(self._link, Place.of_tenant(tenant), self.settings), time.perf_counter()
        try:
            found = await repair(work, history, how)
        except AppError as exc:
            if getattr(exc, "lost", False):
                raise
            return Result.of_error(tenant, exc, seconds=time.perf_counter() - start)
        steps = tuple(f"{entry} ({how})" for entry in found)
        if not steps:
            return None
        return Result(tenant, "repaired", steps, seconds=time.perf_counter() - start)

    async def adopt(
        self, tenant: str, component: str, tool: Tool, *, table: str | None = None
    ) -> list[Entry]:
        """Take a schema `tenant_<id>` that another tool has migrated into the registry.

        Raises:
            AdoptionRefused: There is no such schema, or its table does not fit what is registered.
        """
        work = Work(self._link, Place.of_tenant(tenant), self.settings)
        return await adopt(work, await self._history([component]), tool, table)

    async def _in_transaction(self, action: Callable[[Link], Awaitable[T]]) -> T:
        return await in_transaction(self._link, self.settings, action)

    async def _aim(self, component: str, version: int, tenants: frozenset[str] | None) -> int:
        return await self._in_transaction(
            lambda link: registration.aim(link, component, version, move=tenants is None)
        )

    async def _check_names(self, question: Question, rollout: Rollout | None = None) -> None:
        tenants = {*(question.tenants or ())}
        if rollout is not None and not isinstance(rollout.canary, int):
            tenants |= {*rollout.canary}
        components = question.components or frozenset()
        if tenants or components:
            await check_names(self._link, self.settings, tenants, components)

    async def _survey(
        self, question: Question, *, everybody: bool = False
    ) -> dict[str, list[Standing]]:
        return await survey(self._link, self.settings, question, everybody=everybody)

    async def _history(self, components: Iterable[str] | None) -> History:
        return await self._in_transaction(lambda link: read_registered(link, components))

    async def _run(
        self, question: Question, rollout: Rollout | None, progress: Progress | None
    ) -> Report:
        run = Run(self._conninfo, self.settings, question, rollout, progress)
        start = time.perf_counter()
        try:
            while run.report.aborted is None:
                found = await self._survey(question)
                if not (left := {name: found[name] for name in found if name not in run.failed}):
                    break
                await run.round(left, await self._history(None))
        finally:
            run.report.seconds = time.perf_counter() - start
        return run.report


def _set(names: Iterable[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)
