"""The way back of migrations, and forth again, in a place whose tables may go."""

from __future__ import annotations

from pathlib import Path

from mtenant_chassis.testing.place import Place
from mtenant_database.migrate import Fleet, Migrator, read_migrations


async def tenant_tables_that_return(
    place: Place, tenant: str, component: str, folder: Path
) -> set[str]:
    """Take the tables of a component away from every tenant, and bring them again.

    Args:
        place: Where they are.
        tenant: The tenant that is looked at.
        component: The component's name.
        folder: Its migrations.

    Returns:
        The names of the tables that were gone meanwhile.

    Raises:
        AssertionError: A migration failed, or not all that was there is there again.
    """
    newest = read_migrations(folder, component).tenant[-1].version
    before = place.tables(f"tenant_{tenant}")
    async with Fleet(place.owner, settings=place.migrate) as fleet:
        away = await fleet.to(component, 0)
        without = place.tables(f"tenant_{tenant}")
        again = await fleet.to(component, newest)
    if away.exit_code or again.exit_code:
        raise AssertionError(f"{away}\n{again}")
    return _gone(before, without, place.tables(f"tenant_{tenant}"))


async def shared_tables_that_return(place: Place, component: str, folder: Path) -> set[str]:
    """Take the shared tables of a component away, and bring them again.

    Args:
        place: Where they are.
        component: The component's name.
        folder: Its migrations.

    Returns:
        The names of the tables that were gone meanwhile.

    Raises:
        AppError: A migration failed.
        AssertionError: Not all that was there is there again.
    """
    files = read_migrations(folder, component).shared
    before = place.tables("shared")
    async with Migrator(place.owner, files, schema="shared", settings=place.migrate) as migrator:
        await migrator.to(0)
        without = place.tables("shared")
        await migrator.up()
    return _gone(before, without, place.tables("shared"))


def _gone(before: set[str], without: set[str], after: set[str]) -> set[str]:
    if after != before:
        raise AssertionError(f"there was {sorted(before)}, and is {sorted(after)}")
    return before - without
