"""What is in a schema, in PostgreSQL's own words, so that two of them can be compared."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from mtenant_database.query import Sender


@dataclass(frozen=True)
class LiveColumn:
    """A column: its type as `format_type` says it, whether it may be NULL, its default."""

    type: str
    nullable: bool
    default: str | None


@dataclass(frozen=True)
class LiveTable:
    """A table.

    Attributes:
        columns: By name.
        indexes: Definitions by name, without their own name and the table's.
        constraints: Definitions of checks and foreign keys.
    """

    columns: dict[str, LiveColumn]
    indexes: dict[str, str]
    constraints: frozenset[str]


_QUESTION = """
select coalesce(json_agg(json_build_array(c.relname,
  (select json_agg(json_build_array(a.attname, format_type(a.atttypid, a.atttypmod), not a.attnotnull,
     (select pg_get_expr(d.adbin, d.adrelid) from pg_catalog.pg_attrdef d
       where d.adrelid = a.attrelid and d.adnum = a.attnum)) order by a.attnum)
     from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
  (select coalesce(json_agg(json_build_array(i.relname, x.indisunique,
       regexp_replace(pg_get_indexdef(x.indexrelid), '^.* USING ', ''))), '[]')
     from pg_catalog.pg_index x join pg_catalog.pg_class i on i.oid = x.indexrelid
    where x.indrelid = c.oid and not x.indisprimary),
  (select coalesce(json_agg(pg_get_constraintdef(k.oid)), '[]') from pg_catalog.pg_constraint k
    where k.conrelid = c.oid and k.contype in ('c', 'f'))))::text, '[]')
from pg_catalog.pg_class c where c.relkind in ('r', 'p')
 and c.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = %s)
"""


async def read_catalog(sender: Sender, schema: str) -> dict[str, LiveTable]:
    """Return the tables of a schema by name; one query."""
    rows = json.loads(await sender.fetch_value(_QUESTION, [schema]))
    return {name: _table(schema, *rest) for name, *rest in rows}


def _table(
    schema: str, columns: list[Any], indexes: list[Any], constraints: list[str]
) -> LiveTable:
    def plain(text: str | None) -> str | None:
        # A name is told with its schema where that is not on the path.
        return None if text is None else text.replace(f"{schema}.", "")

    return LiveTable(
        {
            name: LiveColumn(str(plain(type_)), nullable, plain(default))
            for name, type_, nullable, default in columns or ()
        },
        {name: f"{'unique ' if unique else ''}{plain(said)}" for name, unique, said in indexes},
        frozenset(str(plain(one)) for one in constraints),
    )
