"""The command `crm`: up, down, migrate, demo."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mtenant_devstack import record
from mtenant_devstack.crm import Crm
from mtenant_devstack.demo import ask_servers, run_scripts
from mtenant_devstack.errors import DevstackError
from mtenant_devstack.server import Mode, Server
from mtenant_devstack.service import installed
from mtenant_devstack.stack import SERVERS, Stack
from mtenant_devstack.step import step
from mtenant_devstack.story import Organization, tell

LOOK = 0.5  # seconds between two looks at the servers while `crm up` waits


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, 1 for an error, 130 if interrupted."""
    arguments = _parser().parse_args(argv)
    try:
        with _interruptible():
            status: int = arguments.command(arguments)
            return status
    except (DevstackError, OSError) as exc:  # OSError: a directory that cannot be made, a full disk
        _note(f"crm: {exc}")
        return 1
    except KeyboardInterrupt:
        _note("crm: interrupted")
        return 130


def up(arguments: argparse.Namespace) -> int:
    """Start what no variable names, print the URLs, and stay until told to stop."""
    ports = {name: port for name in SERVERS if (port := getattr(arguments, f"{name}_port"))}
    mode: Mode = "durable" if arguments.data else "quick"
    with Stack((), mode=mode, data=arguments.data, ports=ports) as stack:
        record.write(stack.directory)
        stack.start(*_wanted())
        _stay(stack)
    _note("crm: stopped")
    return 0


def down(arguments: argparse.Namespace) -> int:
    """Stop every `crm up` of this user."""
    found = list(record.running())
    for each in found:
        each.stop()
        _note(f"crm: stopped pid {each.pid}")
    if not found:
        _note("crm: nothing runs")
    return 0


def migrate(arguments: argparse.Namespace) -> int:
    """Let every installed service register and run its migrations; return the worst exit status."""
    if not os.environ.get("DATABASE_URL"):
        raise DevstackError(
            "DATABASE_URL is not set: name the database to migrate, as a role that owns it or may"
            " take the role of DB_OWNER_ROLE"
        )
    if not (programs := installed()):
        raise DevstackError("no service is installed here: pip install auth-service, for example")
    worst = 0
    for program in programs:
        _note(f"crm: {program.name}")
        done = subprocess.run(program.command("migrate"), check=False)  # noqa: S603 -- our own
        worst = max(worst, abs(done.returncode))
    return worst


def run_demo(arguments: argparse.Namespace) -> int:
    """Run the demo, and with --stay keep everything up."""
    began = time.perf_counter()
    with Stack(_wanted()) as stack:
        names = ", ".join(server.title for server in stack.started) or "nothing"
        print(f"ok  {time.perf_counter() - began:6.2f} s  start {names}", flush=True)
        urls = _urls(stack)
        ask_servers(urls)
        with Crm(stack, urls) as crm:
            first = _story(crm) if installed() else None
            run_scripts(stack, urls, arguments.script)
            if arguments.stay:
                record.write(stack.directory)
                if first is not None:
                    _show(crm, first)
                _stay(stack, crm.services.values())
    return 0


def _story(crm: Crm) -> Organization:
    with step("migrate and start the services") as notes:
        crm.start()
        notes += [f"{service.name} :{service.port}" for service in crm.services.values()]
    return tell(crm)


def _show(crm: Crm, first: Organization) -> None:
    """Print where to look, and how to be somebody there."""
    for service in crm.services.values():
        print(f"# {service.name}: {service.url}/docs", flush=True)
    who = {"tenant": first.tenant, "email": first.owner_email, "password": first.password}
    login = f"{crm.services['auth-service'].url}/api/auth/login"
    print(f"# curl -H 'content-type: application/json' -d '{json.dumps(who)}' {login}", flush=True)
    print(f"# every mail is in {crm.mails}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="crm",
        description="PostgreSQL, NATS and Valkey without Docker, and the services of the CRM."
        " DATABASE_URL, NATS_URL and REDIS_URL name servers that run already; the others are started.",
    )
    commands = parser.add_subparsers(required=True, metavar="up | down | migrate | demo")
    start = commands.add_parser("up", help="start the servers, print their URLs, stay")
    start.add_argument("--data", type=Path, metavar="DIR", help="keep data here, durably")
    for kind in SERVERS.values():
        start.add_argument(
            f"--{kind.name}-port", type=_port, metavar="N", help=f"{kind.title}'s (any free port)"
        )
    start.set_defaults(command=up)
    stop = commands.add_parser("down", help="stop every `crm up` of this user")
    stop.set_defaults(command=down)
    run = commands.add_parser("migrate", help="run the migrations of every installed service")
    run.set_defaults(command=migrate)
    show = commands.add_parser(
        "demo", help="start servers and services, live through the story, run scripts"
    )
    show.add_argument(
        "script", nargs="*", help="Python files, run with the URLs in the environment"
    )
    show.add_argument("--stay", action="store_true", help="stay up afterwards and print the URLs")
    show.set_defaults(command=run_demo)
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, not {text!r}")
    return int(text)


def _given() -> dict[str, str]:
    """Return the URLs of servers that run already."""
    variables = [kind.variable for kind in SERVERS.values()]
    return {name: url for name in variables if (url := os.environ.get(name))}


def _wanted() -> list[str]:
    """Return the names of the servers that are ours to start."""
    given = _given()
    return [name for name, kind in SERVERS.items() if kind.variable not in given]


def _urls(stack: Stack) -> dict[str, str]:
    return {**_given(), **stack.urls}


def _stay(stack: Stack, services: Iterable[Server] = ()) -> None:
    """Print the URLs, and wait for Ctrl-C, SIGTERM or `crm down`, which is a good end.

    Raises:
        ServerFailed: a server ended by itself.
    """
    with contextlib.suppress(KeyboardInterrupt):
        for variable, url in _urls(stack).items():
            print(f"export {variable}={url}", flush=True)
        _note(f"crm: up, logs are in {stack.directory}; stop with Ctrl-C or `crm down`")
        while True:
            for server in [*stack.started, *services]:
                server.check()
            time.sleep(LOOK)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the program as Ctrl-C does: through every `with` block."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    numbers = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP"):  # not on Windows
        numbers.append(signal.SIGHUP)
    before = {
        number: signal.signal(number, interrupt)
        for number in numbers
        if signal.getsignal(number) is not signal.SIG_IGN  # nohup, or a job in the background
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
