"""The command `crm`: up, down, demo."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mtenant_devstack import record
from mtenant_devstack.demo import demo
from mtenant_devstack.errors import DevstackError
from mtenant_devstack.server import Mode
from mtenant_devstack.stack import SERVERS, Stack

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


def run_demo(arguments: argparse.Namespace) -> int:
    """Run the demo, and with --stay keep the servers up."""
    began = time.perf_counter()
    with Stack(_wanted()) as stack:
        names = ", ".join(type(server).title for server in stack.started) or "nothing"
        print(f"ok  {time.perf_counter() - began:6.2f} s  start {names}", flush=True)
        demo(stack, _urls(stack), arguments.script, lambda line: print(line, flush=True))
        if arguments.stay:
            record.write(stack.directory)
            _stay(stack)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="crm",
        description="PostgreSQL, NATS and Valkey without Docker. DATABASE_URL, NATS_URL and"
        " REDIS_URL name servers that run already; the others are started.",
    )
    commands = parser.add_subparsers(required=True, metavar="up | down | demo")
    start = commands.add_parser("up", help="start the servers, print their URLs, stay")
    start.add_argument("--data", type=Path, metavar="DIR", help="keep data here, durably")
    for kind in SERVERS.values():
        start.add_argument(
            f"--{kind.name}-port", type=_port, metavar="N", help=f"{kind.title}'s (any free port)"
        )
    start.set_defaults(command=up)
    stop = commands.add_parser("down", help="stop every `crm up` of this user")
    stop.set_defaults(command=down)
    show = commands.add_parser("demo", help="start the servers, speak to each, run scripts")
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


def _stay(stack: Stack) -> None:
    """Print the URLs, and wait for Ctrl-C, SIGTERM or `crm down`, which is a good end.

    Raises:
        ServerFailed: a server ended by itself.
    """
    with contextlib.suppress(KeyboardInterrupt):
        for variable, url in _urls(stack).items():
            print(f"export {variable}={url}", flush=True)
        _note(f"crm: up, logs are in {stack.directory}; stop with Ctrl-C or `crm down`")
        while True:
            for server in stack.started:
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
