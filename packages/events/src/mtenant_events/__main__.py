"""The command `mtenant-events`: its words, and how it ends."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import signal
import sys
from collections.abc import Sequence
from typing import Any, Final

from mtenant_errors import AppError
from mtenant_events.commands.status import FAILED

_EPILOG: Final = """\
The database is DATABASE_URL, or --dsn; NATS is NATS_URL.

exit status:
  0  done, and all is well
  1  it failed: the reason is on standard error
  2  the command is wrong
  3  done, and something wants to be looked at"""


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
    except ModuleNotFoundError as exc:
        if exc.name != "psycopg":
            raise
        print("mtenant-events: this needs PostgreSQL's driver:", file=sys.stderr)
        print("  pip install 'mtenant-events[outbox]'", file=sys.stderr)
    except AppError as exc:
        print(f"mtenant-events: {exc.code}: {exc.internal or exc.message}", file=sys.stderr)
        for problem in getattr(exc, "problems", ()):
            print(f"  {problem}", file=sys.stderr)
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("mtenant-events: interrupted", file=sys.stderr)
    return FAILED


async def _run(options: argparse.Namespace) -> int:
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 -- for mypy: asyncio.run makes one
    with contextlib.suppress(NotImplementedError):  # on Windows SIGTERM ends the process
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    # Not before: a group may need an extra that is not installed, and help needs none.
    module, _, function = options.run.partition(":")
    run = getattr(importlib.import_module(f"mtenant_events.commands.{module}"), function)
    status: int = await run(options)
    return status


def _parser() -> _Parser:
    parser = _Parser(
        prog="mtenant-events",
        description="Look after the outbox, its relay, the streams and the dead letters.",
    )
    words = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _outbox(_group(words, "outbox", "make the outbox and the inboxes, and see what waits"))
    _dlq(_group(words, "dlq", "look at the dead letters, replay and drop them"))
    _streams(
        _group(words, "streams", "make the streams, see how they stand, delete what is a tenant's")
    )
    relay = _command(
        words,
        "relay",
        "relay:run",
        "carry what waits in the outbox to the stream, until it is told to stop",
        "SIGTERM lets it end its batch. Any number may run.",
    )
    _dsn(relay)
    return parser


def _group(words: Any, name: str, summary: str) -> Any:
    parser = words.add_parser(name, help=summary, description=f"{summary.capitalize()}.")
    return parser.add_subparsers(title="commands", required=True, metavar="COMMAND")


def _command(group: Any, name: str, run: str, summary: str, more: str = "") -> _Parser:
    description = f"{summary[0].upper()}{summary[1:]}.\n\n{more}".strip()
    command: _Parser = group.add_parser(name, help=summary, description=description)
    command.set_defaults(run=run)
    return command


def _outbox(group: Any) -> None:
    install = _command(
        group,
        "install",
        "outbox:install",
        "make the outbox, and inboxes where they are wanted",
        "For programs without mtenant-database; with it, `mtenant-db migrate up --component events`\n"
        "does the same with the files of `mtenant-events outbox files`.\n"
        "A second time nothing changes.",
    )
    install.add_argument(
        "--inbox",
        action="append",
        default=[],
        metavar="SCHEMA",
        help="a schema to make an inbox in, such as a tenant's; may be given again",
    )
    install.add_argument(
        "--app", metavar="ROLE", help="the application's role, if it is not the owner"
    )
    _dsn(install)
    upgrade = _command(
        group,
        "upgrade",
        "outbox:upgrade",
        "bring the outbox and all installed inboxes to this program's version",
    )
    _dsn(upgrade)
    _command(
        group,
        "files",
        "outbox:files",
        "print the folder of the migrations, for `mtenant-db migrate up --path`",
    )
    status = _command(
        group,
        "status",
        "outbox:status",
        "count what waits, and say how old it is",
        "Exits 3 if something could not be published.",
    )
    _dsn(status)
    _json(status)


def _dlq(group: Any) -> None:
    shown = _command(group, "list", "dlq:list_", "list them, the oldest first")
    _whose(shown)
    shown.add_argument(
        "--limit", type=_count, default=50, metavar="N", help="so many; by default 50"
    )
    shown.add_argument(
        "--after", type=int, default=0, metavar="ID", help="only those behind this one"
    )
    _json(shown)
    one = _command(group, "show", "dlq:show", "print one, with its headers and its body")
    one.add_argument("id", type=_count, metavar="ID")
    _json(one)
    for word, summary, more in (
        (
            "replay",
            "send them to the consumer that had given them up, and to no other",
            "A letter that was replayed is gone. If its event fails again, it becomes a new one.",
        ),
        ("drop", "delete them for good", ""),
    ):
        command = _command(group, word, f"dlq:{word}", summary, more)
        which = command.add_mutually_exclusive_group(required=True)
        which.add_argument("id", type=_count, nargs="*", default=[], metavar="ID")
        which.add_argument(
            "--all", action="store_true", help="all of them, or of a consumer or tenant"
        )
        _whose(command)


def _whose(command: _Parser) -> None:
    command.add_argument("--consumer", metavar="NAME", help="of one consumer: SERVICE__HANDLER")
    command.add_argument("--tenant", metavar="ID", help="of one tenant")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("1 or more")
    return number


def _streams(group: Any) -> None:
    _command(
        group,
        "ensure",
        "streams:ensure",
        "make the streams that are missing, change what may be changed",
        "Refuses what would lose messages. A second time nothing changes.",
    )
    status = _command(
        group,
        "status",
        "streams:status",
        "say how the streams stand",
        "Exits 3 if one is missing, or is not as the settings ask.",
    )
    _json(status)
    purge = _command(
        group,
        "purge",
        "streams:purge",
        "delete all events and dead letters of one tenant for good",
        "For a tenant that was deleted. What is in the outbox yet comes later: purge again then.",
    )
    purge.add_argument("--tenant", required=True, metavar="ID", help="whose")


def _dsn(command: _Parser) -> None:
    command.add_argument("--dsn", metavar="URL", help="the database, instead of DATABASE_URL")


def _json(command: _Parser) -> None:
    command.add_argument("--json", action="store_true", help="write JSON instead of a table")


if __name__ == "__main__":
    sys.exit(main())
