"""The registry: the tables in schema `shared` that know the tenants and the registered migrations.

`tenant_versions` is a cache of what the ledgers say. It is written in the transaction that writes the
ledger, and lets one query tell the state of a fleet.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from psycopg import sql

from mtenant_database.migrate.ledger import Ledger, Place
from mtenant_database.migrate.migration import History, Migration

SHARED: Final = Place("shared")
LIBRARY: Final = "mtenant"  # the component that these tables are

_TABLES: Final = """
CREATE TABLE shared.tenants (
    id text COLLATE "C" PRIMARY KEY CHECK (id ~ '^[a-z0-9][a-z0-9_]{0,55}$'),
    status text NOT NULL DEFAULT 'provisioning'
        CHECK (status IN ('provisioning', 'active', 'suspended', 'dropping')),
    grantees text[] NOT NULL DEFAULT '{}',
    error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN shared.tenants.grantees IS 'who lost USAGE by the suspension, and gets it back';

CREATE TABLE shared.components (
    name text COLLATE "C" PRIMARY KEY,
    head bigint NOT NULL DEFAULT 0,
    contracted bigint NOT NULL DEFAULT 0
);
COMMENT ON COLUMN shared.components.head IS 'the version at which tenants are wanted';
COMMENT ON COLUMN shared.components.contracted IS 'the newest contract migration that may run';

CREATE TABLE shared.migrations (
    component text COLLATE "C" NOT NULL REFERENCES shared.components,
    version bigint NOT NULL CHECK (version > 0),
    name text NOT NULL,
    checksum bytea NOT NULL,
    up text NOT NULL,
    down text,
    contract boolean NOT NULL,
    requires text[] NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (component, version)
);

CREATE TABLE shared.tenant_versions (
    tenant text COLLATE "C" NOT NULL REFERENCES shared.tenants ON DELETE CASCADE,
    component text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    contract bigint NOT NULL,
    PRIMARY KEY (tenant, component)
);
COMMENT ON TABLE shared.tenant_versions IS 'a cache of the ledgers, written with them';
"""

OWN: Final = History([Migration.of(LIBRARY, 1, "registry", _TABLES)])
"""The migrations of the registry itself; a later release adds to them and changes none."""

TABLES: Final = ("tenants", "components", "migrations", "tenant_versions")


def select_status(tenant: str) -> sql.Composed:
    """Return the query of a tenant's status."""
    return sql.SQL("SELECT status FROM shared.tenants WHERE id = {};").format(sql.Literal(tenant))


def select_checksum(migration: Migration) -> sql.Composed:
    """Return the query of the registered checksum; until the end nobody can register another."""
    return sql.SQL(
        "SELECT encode(checksum, 'hex') FROM shared.migrations"
        " WHERE component = {} AND version = {} FOR SHARE;"
    ).format(sql.Literal(migration.component), sql.Literal(migration.version))


def keep_in_step(
    place: Place, ledger: Ledger, components: Iterable[str] | None = None
) -> sql.Composable:
    """Return the statements that copy what a ledger says into the registry.

    Args:
        place: Only a tenant's has rows there; for any other this is nothing.
        ledger: The ledger as it will be when the transaction ends; its lock is held.
        components: Only these; None for all of them.
    """
    if place.tenant is None:
        return sql.SQL("")
    tenant = sql.Literal(place.tenant)
    present = {entry.component for entry in ledger if entry.state != "running"}
    said = [
        sql.SQL(
            "INSERT INTO shared.tenant_versions VALUES ({}, {}, {}, {}) ON CONFLICT (tenant,"
            " component) DO UPDATE SET version = excluded.version, contract = excluded.contract;"
        ).format(
            tenant,
            sql.Literal(name),
            sql.Literal(ledger.version(name)),
            sql.Literal(ledger.contracted(name)),
        )
        for name in sorted(present)
        if components is None or name in components
    ]
    if components is None:
        said.append(
            sql.SQL(
                "DELETE FROM shared.tenant_versions WHERE tenant = {} AND component <> ALL ({}::text[]);"
            ).format(tenant, sql.Literal(sorted(present)))
        )
    elif gone := sorted({*components} - present):
        said.append(
            sql.SQL(
                "DELETE FROM shared.tenant_versions WHERE tenant = {} AND component = ANY ({}::text[]);"
            ).format(tenant, sql.Literal(gone))
        )
    return sql.Composed(said)
