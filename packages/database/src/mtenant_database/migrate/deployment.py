"""Deployment: everything that a component's folder of migrations means, in one call."""

from __future__ import annotations

from collections.abc import Iterable

from mtenant_database.migrate.fleet import Fleet
from mtenant_database.migrate.folder import Migrations
from mtenant_database.migrate.migrator import Migrator
from mtenant_database.migrate.progress import Progress
from mtenant_database.migrate.report import Report
from mtenant_database.migrate.rollout import Rollout
from mtenant_database.migrate.settings import MigrateSettings


async def deploy(
    conninfo: str,
    migrations: Migrations,
    *,
    tenants: Iterable[str] | None = None,
    contract: bool = False,
    rollout: Rollout | None = None,
    progress: Progress | None = None,
    settings: MigrateSettings | None = None,
) -> Report:
    """Set up the registry, migrate `shared`, register the tenant migrations, and run the fleet.

    It is what `mtenant-db migrate up` does with a folder, and what a program does on its start if
    `DB_AUTO_MIGRATE` is on. Several processes may do it at once.

    Args:
        conninfo: A URL or a connection string of a role that may take the owner's.
        migrations: What `read_migrations` gives.
        tenants: Only these; None for all.
        contract: Release the contract migrations of the component, and run them, too.
        rollout: Who first, how many at once, when to stop.
        progress: Who wants to know.
        settings: Roles and patience.

    Raises:
        AppError: As `Fleet.install`, `Migrator.up`, `Fleet.register` and `Fleet.up`.
    """
    settings = settings or MigrateSettings()
    async with Fleet(conninfo, settings=settings) as fleet:
        await fleet.install()
        if migrations.shared:
            shared = Migrator(conninfo, migrations.shared, schema="shared", settings=settings)
            async with shared as migrator:
                await migrator.up(contract=contract)
        await fleet.register(migrations.tenant)
        return await fleet.up(
            migrations.tenant.components,
            tenants=tenants,
            contract=contract,
            rollout=rollout,
            progress=progress,
        )
