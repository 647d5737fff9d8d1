"""The command `mtenant-db`: its words, and how it ends."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Sequence
from typing import Any, Final

from mtenant_database.doctor.command import doctor
from mtenant_database.migrate import commands
from mtenant_database.migrate.report import ABORTED
from mtenant_errors import AppError

_EPILOG = """\
The server is DATABASE_URL, or DB_HOST, DB_PORT, DB_USER, DB_PASSWORD, DB_NAME, or --dsn. Files are in
DB_MIGRATE_PATH (migrations), in shared/ and tenant/ or flat, which means tenant/. DDL runs as
DB_OWNER_ROLE, and the application's role is DB_APP_ROLE.

exit status:
  0  everything is where it should be
  1  aborted: something is wrong, or the canary or too many tenants failed, or it was interrupted
  2  the command is wrong
  3  partial: some tenants failed, the others are where they should be

Nothing is half done at any moment. After a failure or Ctrl-C, run the same again: it goes on where it
stopped."""


_DOCTOR: Final = """\
Look at a live database, ours or anybody's, for what lets one tenant see another, and print one line of
cure for each finding: SQL if it ends in a semicolon. It reads, changes nothing, and needs no more
rights than the program; connect as the program does.

Looked at: superusers and BYPASSRLS, search_path, TEMP, grants to PUBLIC, row security of shared tables,
functions' paths, keys and views across schemas and components, owners, extensions, types, drift."""
_DOCTOR_STATUS: Final = """\
The server is DATABASE_URL, or DB_HOST, DB_PORT, DB_USER, DB_PASSWORD, DB_NAME, or --dsn.

exit status:
  0  nothing found
  1  it could not look, or not at everything
  2  the command is wrong
  3  there are findings"""


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: Any) -> None:
        options.setdefault("epilog", _EPILOG)
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return asyncio.run(_run(options))
    except AppError as exc:
        print(f"mtenant-db: {exc.code}: {exc.message}", file=sys.stderr)
        if problems := getattr(exc, "problems", None):
            print("\n".join(f"  {problem}" for problem in problems), file=sys.stderr)
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("mtenant-db: interrupted; run the same again to go on", file=sys.stderr)
    except ValueError as exc:
        print(f"mtenant-db: {exc}", file=sys.stderr)
    return ABORTED


async def _run(options: argparse.Namespace) -> int:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 -- for mypy: asyncio.run makes one
    loop = asyncio.get_running_loop()
    # Not on Windows, where SIGTERM ends the process, and the server rolls back.
    with contextlib.suppress(NotImplementedError):
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    status: int = await options.run(options)
    return status


def _parser() -> _Parser:
    parser = _Parser(
        prog="mtenant-db",
        description="Migrate the schemas of one tenant or of thousands, and look after the tenants.",
    )
    groups = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    migrate = _group(groups, "migrate", "apply, undo, register and mend migrations")
    _moves(migrate)
    _upkeep(migrate)
    _tenants(_group(groups, "tenants", "list, make, suspend, drop, dump and restore tenants"))
    checkup = groups.add_parser(
        "doctor",
        help="examine a database for what lets one tenant see another",
        description=_DOCTOR,
        epilog=_DOCTOR_STATUS,
    )
    checkup.set_defaults(run=doctor)
    checkup.add_argument("--dsn", metavar="URL", help="the server, instead of the environment")
    checkup.add_argument("--json", action="store_true", help="write JSON, with every finding")
    return parser


def _group(groups: Any, name: str, summary: str) -> Any:
    parser = groups.add_parser(name, help=summary, description=f"{summary.capitalize()}.")
    return parser.add_subparsers(title="commands", required=True, metavar="COMMAND")


def _command(group: Any, name: str, run: object, summary: str, more: str = "") -> _Parser:
    description = f"{summary[0].upper()}{summary[1:]}.\n\n{more}".strip()
    command: _Parser = group.add_parser(name, help=summary, description=description)
    command.set_defaults(run=run)
    command.add_argument("--dsn", metavar="URL", help="the server, instead of the environment")
    command.add_argument("--owner", metavar="ROLE", help="the role that owns the schemas")
    command.add_argument("--app", metavar="ROLE", help="the application's role")
    return command


def _moves(group: Any) -> None:
    up = _command(
        group,
        "up",
        commands.up,
        "bring every tenant to the newest version",
        "With a folder: set up the registry, migrate the schema shared, register the tenant files,\n"
        "and migrate the tenants. Without one: migrate the tenants to what is registered.\n"
        "With --schema: migrate one schema that is no tenant's.",
    )
    _files(up)
    _where(up)
    up.add_argument(
        "--contract",
        action="store_true",
        help="run what `-- migrate: contract` holds back; refused while a tenant is below "
        "what such a file requires",
    )
    _rollout(up)

    down = _command(
        group,
        "down",
        commands.down,
        "undo the last N migrations",
        "For the fleet: every tenant above the version that is N below the newest that any has.",
    )
    down.add_argument("count", metavar="N", type=int)
    _files(down)
    _where(down)
    _rollout(down)

    to = _command(group, "to", commands.to, "go to exactly a version, up or down")
    to.add_argument("version", metavar="V", type=int, help="0 is before the first")
    _files(to)
    _where(to)
    _rollout(to)

    rollback = _command(
        group,
        "rollback",
        commands.rollback,
        "bring every tenant above a version down to it",
        "It becomes the version at which tenants are wanted, until the next register.",
    )
    rollback.add_argument("version", metavar="V", type=int, help="0 is before the first")
    _files(rollback)
    _tenant_option(rollback)
    _rollout(rollback)


def _upkeep(group: Any) -> None:
    status = _command(group, "status", commands.status, "show what is applied and what is pending")
    _files(status)
    _where(status)
    _json(status)

    create = _command(
        group, "create", commands.create, "begin a migration in the format of its folder"
    )
    create.add_argument("description", help="such as 'add user preferences'")
    create.add_argument("--path", metavar="FOLDER", help="instead of DB_MIGRATE_PATH")
    kind = create.add_mutually_exclusive_group()
    for name in ("shared", "tenant"):
        kind.add_argument(
            f"--{name}", dest="kind", action="store_const", const=name, help=f"in {name}/"
        )

    register = _command(
        group,
        "register",
        commands.register,
        "put the tenant files into the registry, so that any process can run them",
        "Sets up the registry, too. Do it when a release is deployed, before `up`.",
    )
    _files(register)

    repair = _command(
        group,
        "repair",
        commands.repair,
        "mend no-transaction files that stopped half way",
        "retry     go on where it stopped; invalid indexes are dropped first\n"
        "applied   you have finished it by hand\n"
        "reverted  you have undone it by hand; invalid indexes are dropped",
    )
    repair.add_argument("how", choices=("retry", "applied", "reverted"))
    _files(repair)
    _where(repair)
    _json(repair)

    adopt = _command(
        group,
        "adopt",
        commands.adopt,
        "take over a schema that another tool has migrated",
        "Reads its table, runs nothing. A tenant's files have to be registered before.",
    )
    adopt.add_argument("tool", choices=("golang-migrate", "yoyo"))
    adopt.add_argument("--table", help="if it is not the tool's usual one")
    _files(adopt)
    _where(adopt)


def _tenants(group: Any) -> None:
    listing = _command(group, "list", commands.list_all, "list the tenants with their versions")
    listing.add_argument("--size", action="store_true", help="bytes on disk, indexes included")
    _json(listing)
    drift = _command(
        group,
        "drift",
        commands.drift,
        "find tenants whose schema differs from others at the same versions",
        "Exits 3 if there is one.",
    )
    _json(drift)
    provision = _command(
        group,
        "provision",
        commands.provision_all,
        "make a tenant from what is registered",
        "One that failed is resumed by the same command.",
    )
    provision.add_argument("tenants", nargs="+", metavar="TENANT")
    drop = _command(
        group, "drop", commands.drop_one, "drop a tenant and all of its data, some tables at a time"
    )
    drop.add_argument("tenant", metavar="TENANT")
    drop.add_argument("--yes", action="store_true", help="do not ask")
    dump = _command(
        group,
        "dump",
        commands.dump_one,
        "write one tenant into a new folder, at one moment, while everybody works on",
        "Its schema, by pg_dump (on PATH, or PG_DUMP), and its rows in tables that all tenants share,\n"
        "which takes a superuser or BYPASSRLS where those force row security.",
    )
    dump.add_argument("tenant", metavar="TENANT")
    dump.add_argument("folder", metavar="FOLDER", help="it appears when it is complete")
    restore = _command(
        group,
        "restore",
        commands.restore_one,
        "bring a tenant back from its dump, all of it or nothing",
        "Under its own id, beside the others, in this or another database where no tenant has the id.\n"
        "The dump's text is run as the owner: restore what you have dumped yourself.",
    )
    restore.add_argument("folder", metavar="FOLDER")
    for name, run, summary in (
        ("suspend", commands.suspend_one, "lock everybody out of a tenant's schema"),
        ("resume", commands.resume_one, "let them back in"),
    ):
        command = _command(group, name, run, summary)
        command.add_argument("tenant", metavar="TENANT")


def _files(command: _Parser) -> None:
    command.add_argument("--path", metavar="FOLDER", help="instead of DB_MIGRATE_PATH")
    command.add_argument(
        "--component",
        metavar="NAME",
        help="whose migrations, such as contact; or DB_MIGRATE_COMPONENT",
    )


def _where(command: _Parser) -> None:
    command.add_argument("--schema", metavar="NAME", help="one schema that is no tenant's")
    _tenant_option(command)


def _tenant_option(command: _Parser) -> None:
    command.add_argument(
        "--tenant",
        action="append",
        dest="tenants",
        metavar="ID",
        help="only this one; may be given again",
    )


def _rollout(command: _Parser) -> None:
    group = command.add_argument_group("how it goes through the fleet")
    group.add_argument(
        "--canary",
        default="1",
        metavar="N|ID,ID",
        help="so many go first, or these; if one fails, no other is begun (%(default)s)",
    )
    group.add_argument("--wave", type=int, default=100, metavar="N", help="then (%(default)s)")
    group.add_argument("--parallel", type=int, default=4, metavar="N", help="at once (%(default)s)")
    group.add_argument(
        "--max-failures",
        default="10%",
        metavar="N|N%",
        help="stop when more have failed (10%%)",
    )
    _json(command)


def _json(command: Any) -> None:
    command.add_argument("--json", action="store_true", help="write JSON instead of a table")


if __name__ == "__main__":
    sys.exit(main())
