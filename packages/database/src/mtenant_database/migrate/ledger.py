"""The ledger: a table in each schema that says what has been applied to it.

It lies in the schema that it describes, so that a schema which is dumped, restored or moved keeps its
history. It is keyed (component, version), because several services migrate one tenant's schema.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from psycopg import sql

from mtenant_database.tenant_id import schema_of

LEDGER: Final = "mtenant_ledger"
State = Literal["applied", "running", "reverting"]


def lock_key(schema: str) -> int:
    """Return the key of a schema's advisory lock: 64 bits, signed, as PostgreSQL takes it.

    It is made here and not by `hashtext`, whose values may change between versions of the server.

    >>> lock_key("tenant_acme") == lock_key("tenant_acme") != lock_key("tenant_globex")
    True
    """
    digest = hashlib.blake2b(f"mtenant:migrate:{schema}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


@dataclass(frozen=True)
class Place:
    """A schema to migrate, and the tenant whose it is.

    Attributes:
        schema: Its name.
        tenant: Its tenant, whose row in the registry is kept in step; None for any other schema.
    """

    schema: str
    tenant: str | None = None

    @classmethod
    def of_tenant(cls, tenant: str) -> Place:
        """Return the place of a tenant.

        Raises:
            InvalidTenantId: The id is none.
        """
        return cls(schema_of(tenant), tenant)

    @property
    def ledger(self) -> sql.Identifier:
        """The ledger's qualified name."""
        return sql.Identifier(self.schema, LEDGER)

    def __str__(self) -> str:
        return f"schema {self.schema}" if self.tenant is None else f"tenant {self.tenant}"


@dataclass(frozen=True)
class Entry:
    """A row of the ledger.

    Attributes:
        component: Whose migration it is.
        version: Its version.
        name: Its name, as it was when it was applied.
        checksum: The SHA-256 of its way up, as it was then.
        contract: Whether it is a contract migration.
        state: `running` and `reverting` are those of no-transaction files that are on their way.
        done: How many statements of such a file are known to be done.
        position: The order of applying.
        relations: The tables, views and sequences that the file made.
    """

    component: str
    version: int
    name: str
    checksum: bytes
    contract: bool = False
    state: State = "applied"
    done: int = 0
    position: int = 0
    relations: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.component} {self.version} {self.name}"


class Ledger(tuple[Entry, ...]):
    """The rows of a ledger in the order of applying."""

    __slots__ = ()

    def __new__(cls, entries: Iterable[Entry] = ()) -> Ledger:
        """Sort the rows."""
        return super().__new__(cls, sorted(entries, key=lambda entry: entry.position))

    @classmethod
    def of(cls, rows: Iterable[tuple[Any, ...]]) -> Ledger:
        """Read what `select_ledger` answers."""
        return cls(
            Entry(
                component,
                version,
                name,
                checksum,
                contract,
                state,
                done,
                position,
                tuple(relations),
            )
            for component, version, name, checksum, contract, state, done, position, relations in rows
        )

    def version(self, component: str) -> int:
        """Return the newest applied version of a component, contract migrations aside; 0 for none."""
        return self._newest(component, contract=False)

    def contracted(self, component: str) -> int:
        """Return the newest applied contract migration of a component; 0 for none."""
        return self._newest(component, contract=True)

    def _newest(self, component: str, *, contract: bool) -> int:
        return max(
            (
                entry.version
                for entry in self
                if entry.component == component
                and entry.contract is contract
                and entry.state != "running"
            ),
            default=0,
        )

    def find(self, component: str, version: int) -> Entry | None:
        """Return a row, or None."""
        for entry in self:
            if (entry.component, entry.version) == (component, version):
                return entry
        return None

    def and_(self, entry: Entry) -> Ledger:
        """Return the ledger with a row more, or with one in place of that of the same migration."""
        return Ledger([*self.without(entry.component, entry.version), entry])

    def without(self, component: str, version: int) -> Ledger:
        """Return the ledger with a row less."""
        return Ledger(
            entry for entry in self if (entry.component, entry.version) != (component, version)
        )

    @property
    def owners(self) -> dict[str, str]:
        """The component of each relation, by name."""
        return {name: entry.component for entry in self for name in entry.relations}


def create_ledger(place: Place) -> sql.Composed:
    """Return the DDL of a ledger."""
    return sql.SQL(
        """CREATE TABLE IF NOT EXISTS {} (
    component text COLLATE "C" NOT NULL,
    version bigint NOT NULL CHECK (version > 0),
    name text NOT NULL,
    checksum bytea NOT NULL,
    contract boolean NOT NULL,
    state text NOT NULL CHECK (state IN ('applied', 'running', 'reverting')),
    done integer NOT NULL DEFAULT 0,
    position integer NOT NULL,
    relations text[] NOT NULL DEFAULT '{{}}',
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    duration_ms integer,
    applied_by text NOT NULL DEFAULT session_user,
    PRIMARY KEY (component, version)
);"""
    ).format(place.ledger)


def select_ledger(place: Place) -> sql.Composed:
    """Return the query that reads a ledger.

    In plain rows, as everything that a new tenant's connection asks: what makes JSON costs a
    connection more the first time than the query itself.
    """
    return sql.SQL(
        "SELECT component, version, name, checksum, contract, state, done, position, relations"
        " FROM {};"
    ).format(place.ledger)


def insert_entry(place: Place, entry: Entry, milliseconds: int | None) -> sql.Composed:
    """Return the statement that writes a row, or overwrites that of the same migration."""
    return sql.SQL(
        "INSERT INTO {} (component, version, name, checksum, contract, state, done, position,"
        " relations, duration_ms) VALUES ({}, {}, {}, {}, {}, {}, {}, {}, {}, {})"
        " ON CONFLICT (component, version) DO UPDATE SET state = excluded.state,"
        " done = excluded.done, relations = excluded.relations, checksum = excluded.checksum,"
        " duration_ms = excluded.duration_ms, applied_at = clock_timestamp();"
    ).format(
        place.ledger,
        sql.Literal(entry.component),
        sql.Literal(entry.version),
        sql.Literal(entry.name),
        sql.Literal(entry.checksum),
        sql.Literal(entry.contract),
        sql.Literal(entry.state),
        sql.Literal(entry.done),
        sql.Literal(entry.position),
        sql.SQL("{}::text[]").format(sql.Literal(list(entry.relations))),
        sql.Literal(milliseconds),
    )


def delete_entry(place: Place, component: str, version: int) -> sql.Composed:
    """Return the statement that takes a row out."""
    return sql.SQL("DELETE FROM {} WHERE component = {} AND version = {};").format(
        place.ledger, sql.Literal(component), sql.Literal(version)
    )


def mark_done(place: Place, entry: Entry) -> sql.Composed:
    """Return the statement that notes how far a no-transaction file has come."""
    return sql.SQL(
        "UPDATE {} SET done = {}, relations = {}::text[] WHERE component = {} AND version = {};"
    ).format(
        place.ledger,
        sql.Literal(entry.done),
        sql.Literal(list(entry.relations)),
        sql.Literal(entry.component),
        sql.Literal(entry.version),
    )
