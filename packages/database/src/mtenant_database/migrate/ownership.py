"""Whose relation is whose: what a file did is seen in the catalog and in the locks that it holds.

Every DDL statement holds its lock until the transaction ends: ALTER TABLE, CREATE INDEX, a foreign
key to a table, a trigger on it and DROP all take one that is stronger than reading and writing rows
need (manual, 13.3.1). So the strong locks of a transaction name every relation that it made, altered
or dropped, also from within a DO block, where no parser of the file would see it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from psycopg import sql

from mtenant_database.migrate.errors import RuleBroken
from mtenant_database.migrate.ledger import LEDGER, Ledger, Place

# Below, classes of pg_depend are 1247 pg_type, 1259 pg_class, 2615 pg_namespace (catalog/pg_*.h), and the
# namespace 99 is pg_toast: these never change.
# A foreign key to the registry is what a tenant's file may do outside of its schema.
_FOREIGN_KEY: Final = frozenset({"ShareRowExclusiveLock"})
_SYSTEM: Final = ("pg_catalog", "pg_toast", "information_schema", "pg_temp_", "pg_toast_temp_")
_RELATIONS: Final = "rpvmSf"  # pg_class.relkind: tables, views, sequences; an index is its table's


@dataclass(frozen=True)
class Catalog:
    """What is in a schema before a file runs.

    Attributes:
        relations: Names by object identifier.
        types: Names of types and domains that are not those of tables.
    """

    relations: dict[int, str]
    types: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Catalog:
        """Read what `select_catalog` answers."""
        relations, types = {}, set()
        for oid, relation, type_ in json.loads(text):
            if relation is not None:
                relations[oid] = relation
            elif type_ is not None:
                types.add(type_)
        return cls(relations, frozenset(types))


class Touched(NamedTuple):
    """A relation on which the transaction holds a strong lock; the names are None once it is gone."""

    oid: int
    kind: str | None
    schema: str | None
    name: str | None
    table: int | None
    modes: list[str]


@dataclass(frozen=True)
class Effect:
    """What the transaction did.

    Attributes:
        touched: The relations that it made, altered or dropped.
        after: What is in the schema now.
    """

    touched: tuple[Touched, ...]
    after: Catalog

    @classmethod
    def parse(cls, locks: str, catalog: str) -> Effect:
        """Read what `select_locks` and `select_catalog` answer."""
        touched = tuple(
            Touched(oid, kind, schema and _unquoted(schema), *rest)
            for oid, kind, schema, *rest in json.loads(locks)
        )
        return cls(touched, Catalog.parse(catalog))


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def made(before: Catalog, effect: Effect, ledger: Ledger, place: Place, component: str) -> set[str]:
    """Return the relations of the schema that the component has come to own."""
    owners = ledger.owners
    return {
        one.name
        for one in effect.touched
        if one.schema == place.schema
        and one.name is not None
        and one.kind is not None
        and one.kind in _RELATIONS
        and (one.oid not in before.relations or owners.get(one.name) != component)
    }


def check_effect(
    before: Catalog, effect: Effect, ledger: Ledger, place: Place, component: str, *, where: str
) -> None:
    """Refuse what a tenant's file did beyond what its component owns.

    Raises:
        RuleBroken: It made or altered something of another schema, altered or dropped another
            component's relation or the ledger, or made a type.
    """
    for problem in _broken(before, effect, ledger, place, component):
        raise RuleBroken(where=where, problem=problem)


def _broken(
    before: Catalog, effect: Effect, ledger: Ledger, place: Place, component: str
) -> Iterator[str]:
    owners = {**ledger.owners, LEDGER: "mtenant"}
    for one in effect.touched:
        if one.schema is not None and one.schema.startswith(_SYSTEM):
            continue
        known = before.relations.get(one.table if one.table is not None else one.oid)
        if one.schema not in (None, place.schema):
            registry = (one.schema, one.name) == ("shared", "tenants")
            if not (registry and _FOREIGN_KEY.issuperset(one.modes)):
                yield f"it makes or alters {one.schema}.{one.name}, which is outside of the schema"
        elif known is not None and owners.get(known, component) != component:
            yield f"it alters {known}, which belongs to the component {owners[known]}"
    for name in sorted(effect.after.types - before.types):
        yield f"it makes the type {name}: use text with a CHECK, or a type of the schema shared"


def select_catalog(place: Place) -> sql.Composed:
    """Return the query that reads a `Catalog` as one JSON value.

    It goes by pg_depend, which has an index by schema; pg_class has none.
    """
    quoted = sql.Identifier(place.schema).as_string()
    return sql.SQL(
        "SELECT coalesce(json_agg(json_build_array(d.objid::int8,"
        " (SELECT relname FROM pg_catalog.pg_class c WHERE c.oid = d.objid AND d.classid = 1259),"
        " (SELECT typname FROM pg_catalog.pg_type t WHERE t.oid = d.objid AND d.classid = 1247))),"
        " '[]') FROM pg_catalog.pg_depend d WHERE d.refclassid = 2615"
        " AND d.refobjid = {}::pg_catalog.regnamespace AND d.classid IN (1247, 1259);"
    ).format(sql.Literal(quoted))


def select_ledger_id(place: Place) -> sql.Composed:
    """Return the query that reads what the `Catalog` of a schema with nothing but a ledger has."""
    return sql.SQL("SELECT {}::pg_catalog.regclass::int8;").format(
        sql.Literal(place.ledger.as_string())
    )


def select_locks() -> sql.SQL:
    """Return the query that reads the strong locks of the running transaction as one JSON value."""
    # pg_lock_status() is what pg_locks shows: this is planned once for each file of each tenant.
    return sql.SQL(
        "SELECT coalesce(json_agg(json_build_array(l.relation::int8, c.relkind,"
        " c.relnamespace::pg_catalog.regnamespace, c.relname, CASE WHEN c.relkind IN ('i', 'I') THEN"
        " (SELECT i.indrelid::int8 FROM pg_catalog.pg_index i WHERE i.indexrelid = c.oid) END,"
        " l.modes)), '[]') FROM (SELECT relation, array_agg(mode) modes"
        " FROM pg_catalog.pg_lock_status() WHERE pid = pg_catalog.pg_backend_pid()"
        " AND locktype = 'relation' AND database <> 0"
        " AND mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')"
        " GROUP BY relation) l LEFT JOIN pg_catalog.pg_class c ON c.oid = l.relation"
        " WHERE c.relnamespace IS DISTINCT FROM 99;"
    )
