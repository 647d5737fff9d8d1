"""Whose relation is whose: what a file did is seen in the catalog and in the locks that it holds.

Every DDL statement holds its lock until the transaction ends: ALTER TABLE, CREATE INDEX, a foreign
key to a table, a trigger on it and DROP all take one that is stronger than reading and writing rows
need (manual, 13.3.1). So the strong locks of a transaction name every relation that it made, altered
or dropped, also from within a DO block, where no parser of the file would see it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from psycopg import sql

from mtenant_database.migrate.errors import RuleBroken
from mtenant_database.migrate.ledger import LEDGER, Ledger, Place

# Below, classes of pg_depend are 1247 pg_type, 1259 pg_class, 2615 pg_namespace (catalog/pg_*.h): these never change.
# A foreign key to the registry is what a tenant's file may do outside of its schema.
_MODES: Final = {
    mode: frozenset([mode])
    for mode in (
        "ShareUpdateExclusiveLock",
        "ShareLock",
        "ShareRowExclusiveLock",
        "ExclusiveLock",
        "AccessExclusiveLock",
    )
}
_FOREIGN_KEY: Final = frozenset({"ShareRowExclusiveLock"})
_SYSTEM: Final = ("pg_catalog", "pg_toast", "information_schema", "pg_temp_", "pg_toast_temp_")
# pg_class.relkind of tables, partitioned and foreign ones, views and sequences; an index is its table's.
_RELATIONS: Final = frozenset("rpfvmS")


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
    def of(cls, rows: Iterable[tuple[Any, ...]]) -> Catalog:
        """Read what `select_catalog` answers."""
        relations, types = {}, set()
        for oid, relation, type_ in rows:
            if relation is not None:
                relations[oid] = relation
            elif type_ is not None:
                types.add(type_)
        return cls(relations, frozenset(types))


class Touched(NamedTuple):
    """A relation on which the transaction holds a strong lock; the names are None once it is gone."""

    oid: int
    schema: str | None
    name: str | None
    kind: str | None
    table: int | None
    modes: frozenset[str]


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
    def of(
        cls,
        before: Catalog,
        place: Place,
        locks: Iterable[tuple[Any, ...]],
        types: Iterable[tuple[str]],
    ) -> Effect:
        """Read what `select_effect` answers, given what was in the schema before."""
        touched: dict[int, Touched] = {}
        for oid, kind, schema, name, table, mode in locks:
            known = touched.get(oid)
            modes = _MODES[mode] if known is None else known.modes | _MODES[mode]
            touched[oid] = Touched(oid, schema, name, kind, table, modes)
        relations = dict(before.relations)
        for one in touched.values():
            if one.schema == place.schema and one.name is not None and one.kind in _RELATIONS:
                relations[one.oid] = one.name
            else:
                relations.pop(one.oid, None)
        after = Catalog(relations, frozenset(name for (name,) in types))
        return cls(tuple(touched.values()), after)


def made(before: Catalog, effect: Effect, ledger: Ledger, place: Place, component: str) -> set[str]:
    """Return the relations of the schema that the component has come to own."""
    owners = ledger.owners
    return {
        one.name
        for one in effect.touched
        if one.schema == place.schema
        and one.name is not None
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
            if not (registry and one.modes <= _FOREIGN_KEY):
                yield f"it makes or alters {one.schema}.{one.name}, which is outside of the schema"
        elif known is not None and owners.get(known, component) != component:
            yield f"it alters {known}, which belongs to the component {owners[known]}"
    for name in sorted(effect.after.types - before.types):
        yield f"it makes the type {name}: use text with a CHECK, or a type of the schema shared"


def select_catalog(place: Place) -> sql.Composed:
    """Return the query that reads a `Catalog`."""
    # By pg_depend, which has an index by schema; pg_class has none.
    return sql.SQL(
        "SELECT d.objid::int8,"
        " (SELECT relname FROM pg_catalog.pg_class c WHERE c.oid = d.objid AND d.classid = 1259),"
        " (SELECT typname FROM pg_catalog.pg_type t WHERE t.oid = d.objid AND d.classid = 1247)"
        " FROM pg_catalog.pg_depend d WHERE d.refclassid = 2615"
        " AND d.refobjid = {}::pg_catalog.regnamespace AND d.classid IN (1247, 1259);"
    ).format(_name(place))


def select_effect(place: Place) -> list[sql.Composable]:
    """Return the two queries that read an `Effect` of the running transaction."""
    types = sql.SQL(
        "SELECT t.typname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_type t ON t.oid = d.objid"
        " WHERE d.refclassid = 2615 AND d.refobjid = {}::pg_catalog.regnamespace"
        " AND d.classid = 1247;"
    ).format(_name(place))
    return [_LOCKS, types]


def _name(place: Place) -> sql.Literal:
    return sql.Literal(sql.Identifier(place.schema).as_string())


# The strong locks of the running transaction. OFFSET 0 and subqueries instead of joins: what the planner
# thinks of the number of locks does not matter. TOAST, whose schema is 99 (catalog/pg_namespace.dat),
# is nobody's.
_LOCKS: Final = sql.SQL(
    "SELECT l.relation::int8, c.relkind,"
    " (SELECT nspname FROM pg_catalog.pg_namespace n WHERE n.oid = c.relnamespace), c.relname,"
    " (SELECT i.indrelid::int8 FROM pg_catalog.pg_index i WHERE i.indexrelid = c.oid), l.mode"
    " FROM pg_catalog.pg_lock_status() l"
    " LEFT JOIN LATERAL (SELECT * FROM pg_catalog.pg_class c WHERE c.oid = l.relation OFFSET 0) c"
    " ON true WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation'"
    " AND l.database <> 0 AND c.relnamespace IS DISTINCT FROM 99"
    " AND l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock');"
)
