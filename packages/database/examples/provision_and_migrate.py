"""Two tenants are made, a service gets a new release, and the fleet is migrated.

It needs a server: $DATABASE_URL; or mtenant-devstack, which starts one. A superuser's URL is used to make
a database of its own, for an ordinary role: DDL never runs as a superuser.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from mtenant_database.migrate import (
    Rollout,
    deploy,
    list_tenants,
    progress_on,
    provision,
    read_migrations,
)

NAME = f"example_{os.getpid()}"


@contextmanager
def server() -> Iterator[str]:
    """Give the URL of a database that an ordinary role owns."""
    if url := os.environ.get("DATABASE_URL"):
        with owned(url) as ours:
            yield ours
        return
    from mtenant_devstack import Stack  # noqa: PLC0415 -- only where there is no other server

    with Stack(["postgres"]) as stack, owned(stack.postgres.url) as ours:
        yield ours


@contextmanager
def owned(url: str) -> Iterator[str]:
    """Give the URL of a database of our own, if the role may make one for another role."""
    with psycopg.connect(url, autocommit=True) as conn:
        if conn.info.parameter_status("is_superuser") == "off":
            yield url
            return
        conn.execute(f"create role {NAME} login".encode())
        conn.execute(f"create database {NAME} owner {NAME}".encode())
        try:
            yield make_conninfo(url, user=NAME, dbname=NAME)
        finally:
            conn.execute(f"drop database {NAME} with (force)".encode())
            conn.execute(f"drop role {NAME}".encode())


async def main(url: str, folder: Path) -> None:
    """Deploy, provision, deploy again."""
    (folder / "001_people.sql").write_text("create table people (id int primary key);\n")
    (folder / "001_rollback.sql").write_text("drop table people;\n")
    await deploy(url, read_migrations(folder, "contact"))  # a fleet of nobody yet

    for tenant in ("acme", "globex"):
        for step in await provision(url, tenant):
            print(f"{tenant}: {step.step}")

    (folder / "002_email.sql").write_text("alter table people add email text;\n")
    (folder / "002_rollback.sql").write_text("alter table people drop email;\n")
    report = await deploy(
        url,
        read_migrations(folder, "contact"),
        rollout=Rollout(canary=("acme",), parallel=2),
        progress=progress_on(sys.stdout),
    )
    print(report.to_table())
    for one in await list_tenants(url):
        print(one.id, one.status, one.versions)


if __name__ == "__main__":
    try:
        with server() as url, tempfile.TemporaryDirectory() as folder:
            asyncio.run(main(url, Path(folder)))
    except ModuleNotFoundError as exc:
        print(f"no server: set DATABASE_URL, or install mtenant-devstack ({exc})")
