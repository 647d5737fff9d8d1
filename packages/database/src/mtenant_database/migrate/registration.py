"""Registration: a component's tenant migrations go into the registry, so that any process can run them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from mtenant_database.migrate.errors import (
    ChecksumMismatch,
    MigrationMissing,
    OutOfOrder,
    UnknownVersion,
)
from mtenant_database.migrate.link import Link, rows_of
from mtenant_database.migrate.migration import History, Migration
from mtenant_database.migrate.rules import check_rules
from mtenant_database.migrate.transaction import first_value

_WHERE = "the registry"


@dataclass(frozen=True)
class Registration:
    """What registering changes.

    Attributes:
        new: Migrations that were not registered.
        changed: Those whose way up is another text now; allowed while no tenant has them.
        mended: Those whose name or way down is another now.
    """

    new: tuple[Migration, ...] = ()
    changed: tuple[Migration, ...] = ()
    mended: tuple[Migration, ...] = ()


def compare(files: History, registered: History) -> Registration:
    """Return what registering the files of one component would change.

    What is registered above the newest file is the work of a newer release, and stays.

    Args:
        files: The component's files.
        registered: What is registered of it.

    Raises:
        RuleBroken: A file says what no tenant's file may say.
        MigrationMissing: A registered one is not among the files, below ones that are.
        OutOfOrder: A new file is older than what is registered. Contract migrations, which wait,
            are only compared with each other.
    """
    for one in files:
        check_rules(one)
    known = {one.version: one for one in registered}
    newest = files[-1].version if files else 0
    versions = {one.version for one in files}
    for one in registered:
        if one.version < newest and one.version not in versions:
            raise MigrationMissing(migration=str(one), where=_WHERE)
    new, changed, mended = [], [], []
    for one in files:
        other = known.get(one.version)
        if other is None:
            head = _newest(registered, contract=one.contract)
            if one.version < head:
                raise OutOfOrder(migration=str(one), where=_WHERE, newest=head)
            new.append(one)
        elif other.checksum != one.checksum:
            changed.append(one)
        elif (other.name, _down(other)) != (one.name, _down(one)):
            mended.append(one)
    return Registration(tuple(new), tuple(changed), tuple(mended))


def _newest(migrations: Iterable[Migration], *, contract: bool) -> int:
    return max((one.version for one in migrations if one.contract is contract), default=0)


def _down(one: Migration) -> str | None:
    return None if one.down is None else one.down.text


async def read_registered(link: Link, components: Iterable[str] | None = None) -> History:
    """Return what is registered, of these components or of all."""
    results = await link.run(select_registered(components).as_string())
    return registered_history(rows_of(results[-1]))


def select_registered(components: Iterable[str] | None = None) -> sql.Composed:
    """Return the query of what is registered, of these components or of all."""
    only = (
        sql.SQL("")
        if components is None
        else sql.SQL(" WHERE component = ANY({})").format(sql.Literal(sorted(components)))
    )
    return sql.SQL("SELECT component, version, name, up, down FROM shared.migrations{};").format(
        only
    )


def registered_history(rows: Iterable[tuple[Any, ...]]) -> History:
    """Read what `select_registered` answers."""
    return History(Migration.of(*row, checked=True) for row in rows)


async def lock_components(link: Link) -> None:
    """Keep everybody else from moving a head, and from activating a tenant, until the transaction ends.

    EXCLUSIVE is the weakest lock that FOR SHARE waits for (manual, 13.3.1), so that a component which
    is only now inserted cannot be overlooked by a tenant that is being activated.
    """
    await link.run("LOCK TABLE shared.components IN EXCLUSIVE MODE")


async def register(link: Link, component: str, files: History) -> Registration:
    """Register the files of one component, in the transaction that is open.

    Raises:
        ChecksumMismatch: A changed file has been applied to a tenant.
        AppError: As `compare`.
    """
    await lock_components(link)
    registered = await read_registered(link, [component])
    changes = compare(files, registered)
    top = _newest(files, contract=False)
    await link.run(
        sql.SQL(
            "INSERT INTO shared.components (name, head) VALUES ({}, {}) ON CONFLICT (name)"
            " DO UPDATE SET head = greatest(components.head, excluded.head)"
        )
        .format(sql.Literal(component), sql.Literal(top))
        .as_string()
    )
    for one in (*changes.new, *changes.changed, *changes.mended):
        await link.run(_upsert(one).as_string())
    for one in changes.changed:
        # After the row was written: a tenant that was getting the old text is done now, or waits.
        if await first_value(link, _is_applied(one)) == "t":
            raise ChecksumMismatch(migration=str(one), where="a tenant")
    return changes


async def aim(link: Link, component: str, version: int, *, move: bool = True) -> int:
    """Make a version the one at which tenants are wanted, in the transaction that is open.

    Args:
        link: The connection.
        component: Whose version.
        version: Which; 0 is before the first.
        move: False to look it up only.

    Returns:
        The newest version up to it that is no contract migration.

    Raises:
        UnknownVersion: The component has no such version.
    """
    await lock_components(link)
    registered = await read_registered(link, [component])
    if not registered:
        raise UnknownVersion(component=component, version=version)
    if version:
        registered.find(component, version)
    below = [one for one in registered if one.version <= version]
    head, contract = _newest(below, contract=False), _newest(below, contract=True)
    if move:
        await link.run(
            sql.SQL(
                "UPDATE shared.components SET head = {}, contracted = least(contracted, {})"
                " WHERE name = {}"
            )
            .format(sql.Literal(head), sql.Literal(contract), sql.Literal(component))
            .as_string()
        )
    return head


def _upsert(one: Migration) -> sql.Composed:
    return sql.SQL(
        "INSERT INTO shared.migrations (component, version, name, checksum, up, down, contract,"
        " requires) VALUES ({}, {}, {}, {}, {}, {}, {}, {}::text[]) ON CONFLICT (component, version)"
        " DO UPDATE SET name = excluded.name, checksum = excluded.checksum, up = excluded.up,"
        " down = excluded.down, contract = excluded.contract, requires = excluded.requires,"
        " registered_at = now()"
    ).format(
        sql.Literal(one.component),
        sql.Literal(one.version),
        sql.Literal(one.name),
        sql.Literal(one.checksum),
        sql.Literal(one.up.text),
        sql.Literal(_down(one)),
        sql.Literal(one.contract),
        sql.Literal([str(wanted) for wanted in one.requires]),
    )


def _is_applied(one: Migration) -> sql.Composed:
    # Above the version at which a tenant is nothing is applied, whether contract or not.
    column = sql.Identifier("contract" if one.contract else "version")
    return sql.SQL(
        "SELECT EXISTS (SELECT FROM shared.tenant_versions WHERE component = {} AND {} >= {})"
    ).format(sql.Literal(one.component), column, sql.Literal(one.version))
