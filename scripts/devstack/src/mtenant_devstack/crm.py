"""The CRM on a stack: a database with its two roles, and every installed service."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlsplit

from mtenant_devstack.errors import DevstackError
from mtenant_devstack.gateway import Gateway
from mtenant_devstack.ports import LOOPBACK, free_port
from mtenant_devstack.service import PROGRAMS, Program, Service, installed, plain_environment
from mtenant_devstack.stack import Stack

MIGRATE_TIMEOUT = 120.0  # seconds
TIMEOUT = 10  # seconds for PostgreSQL to answer

SCOPES: Mapping[str, tuple[str, ...]] = {
    "tenant-service": ("users:manage",),
    "contact-service": ("users:read",),
    "deal-service": ("contacts:read", "users:read"),
    "communication-service": ("companies:read", "contacts:read", "deals:read", "users:read"),
}
"""What a service may do at others, by the tokens that auth-service gives it."""


class Crm:
    """Every installed service as a process, for as long as the `with` block runs.

    They have a database of their own, which a role without rights owns and another one uses, so that
    row security holds as in production. It is removed at the end.

    Args:
        stack: an open stack; the services end with it at the latest.
        urls: DATABASE_URL, of a role that may make databases and roles; NATS_URL and REDIS_URL.
        copies: how many processes of each service run, behind one address.

    Attributes:
        services: the running services, by name; of several processes the first.
        others: the further processes.
        gateways: what stands before several processes, by name of the service.
        mails: the directory that every mail is written to instead of being sent.
        nats_url: where their events pass.
        owner: the URL of the database, as the role that owns it.
        app: the same as the role of the services.
    """

    def __init__(self, stack: Stack, urls: Mapping[str, str], *, copies: int = 1) -> None:
        self._stack = stack
        self._copies = copies
        self._urls = urls
        self._database = f"crm_{secrets.token_hex(4)}"
        self._password = secrets.token_urlsafe(24)
        self._ports = {program.name: program.free_port() for program in installed()}
        self._made = False
        self.services: dict[str, Service] = {}
        self.others: list[Service] = []
        self.gateways: dict[str, Gateway] = {}
        self.nats_url = urls["NATS_URL"]
        self.mails = stack.directory / "mails"
        self.owner, self.app = self._as("owner"), self._as("app")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Make the database, migrate it, and start every service that is installed.

        Raises:
            DevstackError: one of them could not be started.
        """
        self.mails.mkdir(mode=0o700)
        self._made = True
        self._administer(self._making())
        settings = self._settings()
        for program in installed():  # in turn: the first makes what all of them stand on
            env = {**settings[program.name], "DATABASE_URL": self.owner}
            self._stack.run(program.command("migrate"), env=env, seconds=MIGRATE_TIMEOUT)
        for program in installed():
            self._prepare(program, settings[program.name])
        _at_once(service.start for service in [*self.services.values(), *self.others])

    def close(self) -> None:
        """Stop the services politely, and remove their database."""
        services, self.services, self.others = [*self.services.values(), *self.others], {}, []
        with suppress(DevstackError):  # a stack that is closed has stopped them
            _at_once(service.stop for service in services)
        for gateway in self.gateways.values():
            gateway.close()
        if self._made and not self._stack.postgres.started:
            # Ours goes with everything in it; one that was there before is left as it was.
            self._administer(self._unmaking())

    def _prepare(self, program: Program, settings: Mapping[str, str]) -> None:
        """Make a service's processes, which are not started yet, and open what stands before them."""
        at = self._ports[program.name]
        if self._copies == 1:
            self.services[program.name] = self._stack.service(program, settings, at)
            return
        ports = [free_port() for _ in range(self._copies)]
        self.gateways[program.name] = gateway = Gateway(at, ports)
        gateway.open()
        first, *others = [
            self._stack.service(program, settings, port, gateway=at, number=number)
            for number, port in enumerate(ports, 1)
        ]
        self.services[program.name] = first
        self.others += others

    def _settings(self) -> dict[str, dict[str, str]]:
        """Return the environment of each service, but for its port."""
        secret_of = {name: secrets.token_urlsafe(32) for name in SCOPES}
        clients = {
            name: {"secrets": [secret], "scopes": SCOPES[name]}
            for name, secret in secret_of.items()
        }
        alike = {
            **plain_environment(),
            **{
                program.variable: f"http://{LOOPBACK}:{self._ports.get(program.name, program.port)}"
                for program in PROGRAMS
            },
            "DATABASE_URL": self.app,
            "NATS_URL": self.nats_url,
            "REDIS_URL": self._urls["REDIS_URL"],
            "DB_OWNER_ROLE": f"{self._database}_owner",
            "DB_APP_ROLE": f"{self._database}_app",
            "DB_AUTO_MIGRATE": "false",  # which a role without rights could not do
            "ENVIRONMENT": "development",
            "MAIL_DIRECTORY": str(self.mails),
        }
        settings = {program.name: dict(alike) for program in PROGRAMS}
        for name, secret in secret_of.items():
            settings[name]["SERVICE_CLIENT_SECRET"] = secret
        settings["auth-service"]["AUTH_SECRET"] = secrets.token_urlsafe(32)
        settings["auth-service"]["AUTH_CLIENTS"] = json.dumps(clients)
        settings["tenant-service"]["PROVISION_DATABASE_URL"] = self.owner
        settings["communication-service"] |= {
            "PUBLIC_URL": alike["COMMUNICATION_SERVICE_URL"],
            "TRACKING_SECRET": secrets.token_urlsafe(32),
            "MACHINE_WINDOW": "0s",  # the story opens a mail as soon as it is there
        }
        return settings

    def _as(self, role: str) -> str:
        """Return the URL of the database as one of its roles."""
        parts = urlsplit(self._urls["DATABASE_URL"])
        login = f"{self._database}_{role}:{quote(self._password)}"
        where = parts.netloc.rpartition("@")[2]
        return parts._replace(netloc=f"{login}@{where}", path=f"/{self._database}").geturl()

    def _making(self) -> list[str]:
        name = self._database
        return [
            *(
                f"create role {name}_{role} login password '{self._password}'"
                for role in ("owner", "app")
            ),
            f"grant {name}_owner to current_user",
            f"create database {name} owner {name}_owner",
            f"revoke temporary on database {name} from public",
        ]

    def _unmaking(self) -> list[str]:
        name = self._database
        return [
            f"drop database if exists {name} with (force)",
            *(f"drop role if exists {name}_{role}" for role in ("owner", "app")),
        ]

    def _administer(self, statements: Iterable[str]) -> None:
        """Run statements that hold nothing but names and a password of our own making."""
        import psycopg  # noqa: PLC0415 -- drivers come with the extra [demo]

        url = self._urls["DATABASE_URL"]
        try:
            with psycopg.connect(url, autocommit=True, connect_timeout=TIMEOUT) as connection:
                for statement in statements:
                    connection.execute(statement.encode())
        except psycopg.errors.InsufficientPrivilege as exc:
            raise DevstackError(
                "the role of DATABASE_URL may not make databases and roles, which the services"
                " need: name a superuser's, or unset it and one is started"
            ) from exc


def _at_once(calls: Iterable[Callable[[], None]]) -> None:
    """Make calls in parallel; raise what the first that failed raised."""
    calls = list(calls)
    with ThreadPoolExecutor(max_workers=max(1, len(calls))) as pool:
        running: list[Future[None]] = [pool.submit(call) for call in calls]
        wait(running, return_when=FIRST_EXCEPTION)
        for future in running:
            future.result()
