"""Holdings: the tables that all tenants share and that have rows of each of them.

Such a table stands in the schema `shared` or `eventing`. Whose a row is says the column that references
`shared.tenants`, or else one that is called `tenant`, `tenant_id` or `organization_id`: the same names
by which the doctor asks for row security.
"""

from __future__ import annotations

import graphlib
import json
from dataclasses import dataclass
from typing import Any, Final

from psycopg import sql

from mtenant_database.migrate.errors import DumpRefused
from mtenant_database.migrate.ledger import Place
from mtenant_database.migrate.link import Link

# Identity columns that are always drawn, and generated ones, are not taken along: a number that the
# server draws is above those that it has drawn, whichever database this is.
_HOLDINGS: Final = """
SELECT coalesce(json_agg(t), '[]') FROM (
SELECT n.nspname AS schema, c.relname AS table, c.oid::text AS oid, a.attname AS tenant_column,
    a.atttypid IN ('text'::regtype, 'varchar'::regtype) AS is_text,
    has_table_privilege(session_user, c.oid, 'SELECT') AS readable,
    (SELECT json_agg(x.attname ORDER BY x.attnum) FROM pg_attribute x WHERE x.attrelid = c.oid
        AND x.attnum > 0 AND NOT x.attisdropped AND x.attidentity <> 'a' AND x.attgenerated = '')
        AS columns,
    (SELECT json_agg(x.attname ORDER BY k.place) FROM pg_index i
        CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
        JOIN pg_attribute x ON x.attrelid = c.oid AND x.attnum = k.attnum
        WHERE i.indrelid = c.oid AND i.indisprimary) AS key,
    (SELECT json_agg(f.confrelid::text) FROM pg_constraint f
        WHERE f.conrelid = c.oid AND f.contype = 'f' AND f.confrelid <> c.oid) AS refers
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
-- Not by regclass, which asks for USAGE on the schema.
CROSS JOIN (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'shared' AND c.relname = 'tenants') registry
LEFT JOIN LATERAL (SELECT a.attname, a.atttypid FROM pg_attribute a
    LEFT JOIN pg_constraint f ON f.conrelid = a.attrelid AND f.contype = 'f'
        AND f.confrelid = registry.oid AND f.conkey = ARRAY[a.attnum]
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        AND (f.oid IS NOT NULL OR a.attname IN ('tenant', 'tenant_id', 'organization_id'))
    ORDER BY f.oid IS NULL, a.attname DESC LIMIT 1) a ON true
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname IN ('shared', 'eventing')
    AND NOT (n.nspname = 'shared' AND c.relname IN ('tenants', 'tenant_versions'))
ORDER BY n.nspname, c.relname COLLATE "C") t
"""


@dataclass(frozen=True)
class Holding:
    """A shared table with rows of tenants.

    Attributes:
        schema: Its schema.
        table: Its name.
        tenant_column: The column that says whose a row is.
        columns: Those that are taken along.
        key: Its primary key, in whose order rows are taken.
        readable: Whether the role that connected may read it.
    """

    schema: str
    table: str
    tenant_column: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    readable: bool

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}"

    def copy_out(self, place: Place) -> sql.Composed:
        """Return the statement that reads a tenant's rows."""
        order: sql.Composable = sql.SQL("")
        if self.key:
            names = sql.SQL(", ").join(map(sql.Identifier, self.key))
            order = sql.SQL(" ORDER BY {}").format(names)
        return sql.SQL("COPY (SELECT {} FROM {} WHERE {} = {}{}) TO STDOUT").format(
            sql.SQL(", ").join(map(sql.Identifier, self.columns)),
            sql.Identifier(self.schema, self.table),
            sql.Identifier(self.tenant_column),
            sql.Literal(place.tenant),
            order,
        )


async def find_holdings(link: Link, place: Place) -> list[Holding]:
    """Return the shared tables, each behind those that it references.

    Raises:
        DumpRefused: Whose the rows of a table are cannot be told.
    """
    found: list[dict[str, Any]] = json.loads(await link.value(_HOLDINGS) or "[]")
    held = {row["oid"]: row for row in found if row["tenant_column"] is not None}
    for row in found:
        name = f"{row['schema']}.{row['table']}"
        if row["oid"] not in held:
            if any(oid in held for oid in row["refers"] or ()):
                raise DumpRefused(
                    where=str(place),
                    problem=f"{name} belongs to rows of tenants and has no column that says whose "
                    "its own are: give it a column `tenant`",
                )
        elif not row["is_text"]:
            raise DumpRefused(
                where=str(place), problem=f"{name}.{row['tenant_column']} is no text: make it one"
            )
    graph = {oid: {o for o in row["refers"] or () if o in held} for oid, row in held.items()}
    try:
        order = [*graphlib.TopologicalSorter(graph).static_order()]
    except graphlib.CycleError as exc:
        names = ", ".join(f"{held[oid]['schema']}.{held[oid]['table']}" for oid in exc.args[1][1:])
        raise DumpRefused(
            where=str(place), problem=f"shared tables reference each other in a circle: {names}"
        ) from exc
    return [_holding(held[oid]) for oid in order]


def _holding(row: dict[str, Any]) -> Holding:
    return Holding(
        row["schema"],
        row["table"],
        row["tenant_column"],
        tuple(row["columns"]),
        tuple(row["key"] or ()),
        row["readable"],
    )
