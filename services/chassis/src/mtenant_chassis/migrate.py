"""The chassis's own tables, and those of a service: deployed together."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mtenant_chassis.settings import Settings
from mtenant_database.migrate import Report, read_migrations
from mtenant_database.migrate.deployment import deploy as deploy_one
from mtenant_events.store.installation import MIGRATIONS as EVENTS

MIGRATIONS: Final = Path(__file__).parent / "migrations"
"""The component `chassis`: `shared/` once, `tenant/` in each tenant's schema."""

COMPONENTS: Final = {"chassis": MIGRATIONS, "events": EVENTS}
"""What every service stands on: the chassis's own tables, outbox and inbox."""


async def deploy(settings: Settings, folder: Path | None = None) -> list[Report]:
    """Install, register and run the migrations of chassis and events, then those of the service.

    Several processes may do it at once.

    Args:
        settings: Whose database, and by which roles.
        folder: The service's, with `shared/` and `tenant/` in it; None for those alone.

    Returns:
        What was done, for each component.

    Raises:
        AppError: As `mtenant_database.migrate.Fleet` does.
    """
    components = dict(COMPONENTS)
    if folder is not None:
        components[settings.component] = folder
    return [
        await deploy_one(
            settings.database.conninfo(), read_migrations(path, name), settings=settings.migrate
        )
        for name, path in components.items()
    ]
