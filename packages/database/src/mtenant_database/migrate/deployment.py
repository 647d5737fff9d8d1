"""Deployment: everything that a component's folder of migrations means, in one call."""

from __future__ import annotations

from collections.abc import Iterable

from mtenant_database.config import DatabaseConfig
from mtenant_database.migrate.fleet import Fleet
from mtenant_database.migrate.folder import Migrations, read_migrations
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


async def migrate_on_start(
    config: DatabaseConfig, component: str, *, settings: MigrateSettings | None = None
) -> Report | None:
    """Do what `deploy` does with the folder of DB_MIGRATE_PATH, if DB_AUTO_MIGRATE says so.

    For the start of a program. Several instances may start at once. In production the variable is off
    by default, and the same is a step of the deployment: `mtenant-db migrate up`.

    Args:
        config: Says whether, from which folder, and where the server is. Its role has to be the
            owner, or one that may take the owner's.
        component: The name of the program, whose migrations they are.
        settings: Roles and patience.

    Returns:
        The report, or None if it is off. Look at `exit_code`: a tenant may have failed.

    Raises:
        AppError: As `read_migrations` and `deploy`.
    """
    if not config.auto_migrate:
        return None
    files = read_migrations(config.migrate_path, component)
    return await deploy(config.conninfo(), files, settings=settings)
