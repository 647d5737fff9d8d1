"""What each word of the command does."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

from mtenant_database.config import DatabaseConfig
from mtenant_database.dsn import parse_dsn
from mtenant_database.migrate.deployment import deploy
from mtenant_database.migrate.drift import find_drift
from mtenant_database.migrate.dump import dump
from mtenant_database.migrate.errors import MigrationFileInvalid
from mtenant_database.migrate.fleet import Fleet
from mtenant_database.migrate.folder import create_migration, read_migrations
from mtenant_database.migrate.migrator import Migrator
from mtenant_database.migrate.progress import Bytes, progress_on
from mtenant_database.migrate.provisioning import provision
from mtenant_database.migrate.report import ABORTED, OK, PARTIAL, Report
from mtenant_database.migrate.restore import restore
from mtenant_database.migrate.rollout import Rollout
from mtenant_database.migrate.settings import MigrateSettings
from mtenant_database.migrate.survey import Standing
from mtenant_database.migrate.tenants import drop, list_tenants, resume, suspend
from mtenant_database.migrate.work import Done
from mtenant_database.tenant_id import check_tenant_id
from mtenant_errors import AppError


async def up(options: Namespace) -> int:
    """Bring everything to the newest version."""
    if options.schema is not None:
        async with _migrator(options) as migrator:
            return _say_steps(await migrator.up(contract=options.contract))
    how = {
        "tenants": options.tenants,
        "contract": options.contract,
        "rollout": _rollout_of(options),
        "progress": progress_on(sys.stderr),
    }
    if options.path is None and not _folder(options).is_dir():
        async with _fleet(options) as fleet:
            names = None if _component(options) is None else [_named(options)]
            return _say_report(await fleet.up(names, **how), options)
    files = read_migrations(_folder(options), _named(options))
    report = await deploy(conninfo_of(options), files, settings=_settings(options), **how)
    return _say_report(report, options)


async def down(options: Namespace) -> int:
    """Undo the last ones."""
    if options.schema is not None:
        async with _migrator(options) as migrator:
            return _say_steps(await migrator.down(options.count))
    async with _fleet(options) as fleet:
        version = await fleet.below(_named(options), options.count)
    options.version = version
    return await rollback(options)


async def to(options: Namespace) -> int:
    """Go to a version."""
    if options.schema is not None:
        async with _migrator(options) as migrator:
            return _say_steps(await migrator.to(options.version))
    async with _fleet(options) as fleet:
        report = await fleet.to(
            _named(options),
            options.version,
            tenants=options.tenants,
            rollout=_rollout_of(options),
            progress=progress_on(sys.stderr),
        )
    return _say_report(report, options)


async def rollback(options: Namespace) -> int:
    """Bring the fleet down to a version."""
    async with _fleet(options) as fleet:
        report = await fleet.rollback(
            _named(options),
            options.version,
            tenants=options.tenants,
            rollout=_rollout_of(options),
            progress=progress_on(sys.stderr),
        )
    return _say_report(report, options)


async def status(options: Namespace) -> int:
    """Show where everything stands."""
    if options.schema is not None:
        async with _migrator(options) as migrator:
            lines = await migrator.status()
        if options.json:
            print(json.dumps([asdict(line) for line in lines], indent=2))
        else:
            _table(
                [("version", "name", "")],
                [(str(line.version), line.name, line.condition) for line in lines],
            )
        return OK
    async with _fleet(options) as fleet:
        found = await fleet.status(options.tenants)
    standings = [one for group in found.values() for one in group]
    wanted = _component(options)
    standings = [one for one in standings if wanted in (None, one.component)]
    if options.json:
        print(json.dumps([asdict(one) for one in standings], indent=2))
    else:
        _say_standings(standings)
    return OK


async def create(options: Namespace) -> int:
    """Begin a migration."""
    folder = _folder(options)
    for path in create_migration(folder / (options.kind or ""), options.description):
        print(path)
    return OK


async def register(options: Namespace) -> int:
    """Put files into the registry."""
    files = read_migrations(_folder(options), _named(options)).tenant
    async with _fleet(options) as fleet:
        await fleet.install()
        for component, changes in (await fleet.register(files)).items():
            for word in ("new", "changed", "mended"):
                for one in getattr(changes, word):
                    print(f"{word}: {one}")
            if not (changes.new or changes.changed or changes.mended):
                print(f"{component}: nothing new")
    return OK


async def repair(options: Namespace) -> int:
    """Mend what stopped half way."""
    if options.schema is not None:
        async with _migrator(options) as migrator:
            for entry in await migrator.repair(options.how):
                print(f"{options.schema}: {entry}: {options.how}")
        return OK
    async with _fleet(options) as fleet:
        report = await fleet.repair(options.how, tenants=options.tenants)
    return _say_report(report, options)


async def adopt(options: Namespace) -> int:
    """Take over what another tool has done."""
    if options.schema is not None:
        async with _migrator(options) as migrator:
            entries = await migrator.adopt(options.tool, table=options.table)
            print(f"{options.schema}: {len(entries)} adopted")
        return OK
    if not options.tenants:
        raise ValueError("say which: --tenant ID or --schema NAME")
    async with _fleet(options) as fleet:
        for tenant in options.tenants:
            entries = await fleet.adopt(tenant, _named(options), options.tool, table=options.table)
            print(f"{tenant}: {len(entries)} adopted")
    return OK


async def list_all(options: Namespace) -> int:
    """List the tenants."""
    tenants = await list_tenants(
        conninfo_of(options), size=options.size, settings=_settings(options)
    )
    if options.json:
        print(json.dumps([asdict(tenant) for tenant in tenants], indent=2))
        return OK
    rows = []
    for tenant in tenants:
        versions = " ".join(f"{name}={version}" for name, version in tenant.versions.items())
        size = [str(tenant.size or 0)] if options.size else []
        rows.append((tenant.id, tenant.status, *size, versions, tenant.error or ""))
    _table([("tenant", "status", *(["bytes"] if options.size else []), "versions", "")], rows)
    return OK


async def drift(options: Namespace) -> int:
    """Find schemas that differ."""
    found = await find_drift(conninfo_of(options), settings=_settings(options))
    if options.json:
        print(json.dumps([asdict(one) for one in found], indent=2))
    else:
        for one in found:
            print(f"{one.tenant} differs from {one.like}")
            print(
                "\n".join(
                    [
                        *(f"  - {line}" for line in one.missing),
                        *(f"  + {line}" for line in one.extra),
                    ]
                )
            )
        if not found:
            print("no drift")
    return PARTIAL if found else OK


async def provision_all(options: Namespace) -> int:
    """Make tenants."""
    conninfo, settings = conninfo_of(options), _settings(options)
    tenants = [*dict.fromkeys(map(check_tenant_id, options.tenants))]
    failed = 0
    for tenant in tenants:
        try:
            steps = await provision(conninfo, tenant, settings=settings)
        except AppError as exc:
            if len(tenants) == 1 or getattr(exc, "lost", False):
                raise
            print(f"{tenant}: {exc.code}: {exc.message}", file=sys.stderr)
            failed += 1
        else:
            print(f"{tenant}: active, {len(steps)} migrations")
    if failed == len(tenants):
        return ABORTED
    return PARTIAL if failed else OK


async def drop_one(options: Namespace) -> int:
    """Drop a tenant."""
    if not options.yes:
        question = f"This deletes all data of {options.tenant}. Type its id: "
        if not sys.stdin.isatty():
            raise ValueError("nobody is there to ask: say --yes")
        if (await asyncio.to_thread(input, question)).strip() != options.tenant:
            raise ValueError("that is another id; nothing was dropped")
    await drop(conninfo_of(options), options.tenant, settings=_settings(options))
    print(f"{options.tenant}: dropped")
    return OK


async def dump_one(options: Namespace) -> int:
    """Write a tenant into a folder."""
    with Bytes(sys.stderr, options.tenant) as said:
        manifest = await dump(
            conninfo_of(options),
            options.tenant,
            options.folder,
            settings=_settings(options),
            on_bytes=said.add,
        )
    rows = sum(rows.count for rows in manifest.rows)
    print(
        f"{manifest.tenant}: {manifest.status}, as of {manifest.dumped_at}, {rows} rows of shared "
        f"tables, in {options.folder}"
    )
    return OK


async def restore_one(options: Namespace) -> int:
    """Bring a tenant back."""
    with Bytes(sys.stderr, "restoring") as said:
        done = await restore(
            conninfo_of(options), options.folder, settings=_settings(options), on_bytes=said.add
        )
    print(f"{done.tenant}: {done.status}, {done.rows} rows of shared tables")
    for name, (version, wanted) in done.behind.items():
        print(f"  {name} is at {version}, wanted at {wanted}")
    if done.behind:
        print(f"  bring it there: mtenant-db migrate up --tenant {done.tenant}")
    return OK


async def suspend_one(options: Namespace) -> int:
    """Lock a tenant."""
    await suspend(conninfo_of(options), options.tenant, settings=_settings(options))
    print(f"{options.tenant}: suspended")
    return OK


async def resume_one(options: Namespace) -> int:
    """Unlock a tenant."""
    await resume(conninfo_of(options), options.tenant, settings=_settings(options))
    print(f"{options.tenant}: active")
    return OK


def conninfo_of(options: Namespace) -> str:
    """Return the server that is meant: `--dsn`, or what the environment says."""
    if options.dsn is None:
        return DatabaseConfig.from_env().conninfo()
    parse_dsn(options.dsn)  # whose error does not repeat a password
    return str(options.dsn)


def _settings(options: Namespace) -> MigrateSettings:
    settings = MigrateSettings.from_env()
    return replace(settings, owner=options.owner or settings.owner, app=options.app or settings.app)


def _fleet(options: Namespace) -> Fleet:
    return Fleet(conninfo_of(options), settings=_settings(options))


def _migrator(options: Namespace) -> Migrator:
    files = read_migrations(_folder(options), _named(options))
    history = files.shared if options.schema == "shared" else files.tenant
    return Migrator(
        conninfo_of(options), history, schema=options.schema, settings=_settings(options)
    )


def _folder(options: Namespace) -> Path:
    return Path(options.path or os.environ.get("DB_MIGRATE_PATH") or "migrations")


def _component(options: Namespace) -> str | None:
    return options.component or os.environ.get("DB_MIGRATE_COMPONENT") or None


def _named(options: Namespace) -> str:
    component = _component(options)
    if component is None:
        raise MigrationFileInvalid(
            where=str(_folder(options)),
            problem="say whose migrations: --component contact, or DB_MIGRATE_COMPONENT",
        )
    return component


def _rollout_of(options: Namespace) -> Rollout:
    canary, failures = options.canary, options.max_failures
    return Rollout(
        canary=int(canary) if canary.isdecimal() else tuple(canary.split(",")),
        wave=options.wave,
        parallel=options.parallel,
        max_failures=int(failures) if failures.isdecimal() else failures,
    )


def _say_report(report: Report, options: Namespace) -> int:
    print(report.to_json() if options.json else report.to_table())
    return report.exit_code


def _say_steps(steps: Iterable[Done]) -> int:
    said = [f"{done.step}  {done.seconds:.2f} s" for done in steps]
    print("\n".join(said) or "nothing to do")
    return OK


def _say_standings(standings: list[Standing]) -> None:
    components = sorted({one.component for one in standings})
    for component in components:
        group = [one for one in standings if one.component == component]
        behind = [one for one in group if one.behind]
        print(
            f"{component}: head {group[0].head}, {len(group) - len(behind)} of {len(group)} there"
        )
        for one in behind[:20]:
            print(f"  {one.tenant} at {one.version}")
        if len(behind) > 20:
            print(f"  and {len(behind) - 20} more")
    if not standings:
        print("no tenant")


def _table(head: list[tuple[str, ...]], rows: list[tuple[str, ...]]) -> None:
    lines = head + rows
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )
