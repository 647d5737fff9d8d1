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
from typing import Final

from psycopg import sql

from mtenant_database.migrate.errors import RuleBroken
from mtenant_database.migrate.ledger import LEDGER, Ledger, Place

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
        found = json.loads(text)
        return cls(dict(found["relations"]), frozenset(found["types"]))


@dataclass(frozen=True)
class Touched:
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
        types: As `Catalog.types`, afterwards.
    """

    touched: tuple[Touched, ...]
    types: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> Effect:
        """Read what `select_effect` answers."""
        found = json.loads(text)
        touched = tuple(
            Touched(oid, schema, name, kind, table, frozenset(modes))
            for oid, schema, name, kind, table, modes in found["touched"]
        )
        return cls(touched, frozenset(found["types"]))


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
            if not (registry and one.modes <= _FOREIGN_KEY):
                yield f"it makes or alters {one.schema}.{one.name}, which is outside of the schema"
        elif known is not None and owners.get(known, component) != component:
            yield f"it alters {known}, which belongs to the component {owners[known]}"
    for name in sorted(effect.types - before.types):
        yield f"it makes the type {name}: use text with a CHECK, or a type of the schema shared"


def select_catalog(place: Place) -> sql.Composed:
    """Return the query that reads a `Catalog` as one JSON value.

    It goes by pg_depend, which has an index by schema; pg_class has none.
    """
    return sql.SQL(
        "SELECT json_build_object("
        "'relations', (SELECT coalesce(json_agg(json_build_array(o.oid::int8, o.relname)), '[]') {}),"
        " 'types', {});"
    ).format(_in_schema("pg_catalog.pg_class", place), _types(place))


def select_effect(place: Place) -> sql.Composed:
    """Return the query that reads an `Effect` of the running transaction as one JSON value."""
    return sql.SQL(
        "SELECT json_build_object('touched', (SELECT coalesce(json_agg(json_build_array(l.relation::int8,"
        " n.nspname, c.relname, c.relkind, i.indrelid::int8, l.modes)), '[]') FROM ("
        "SELECT relation, array_agg(DISTINCT mode) AS modes FROM pg_catalog.pg_locks"
        " WHERE pid = pg_catalog.pg_backend_pid() AND locktype = 'relation' AND database <> 0"
        " AND mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock') GROUP BY relation"
        ") l LEFT JOIN pg_catalog.pg_class c ON c.oid = l.relation"
        " LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = l.relation), 'types', {});"
    ).format(_types(place))


def _types(place: Place) -> sql.Composed:
    return sql.SQL("(SELECT coalesce(json_agg(o.typname), '[]') {})").format(
        _in_schema("pg_catalog.pg_type", place)
    )


def _in_schema(table: str, place: Place) -> sql.Composed:
    text = sql.SQL(
        "FROM pg_catalog.pg_depend d JOIN {} o ON o.oid = d.objid"
        " WHERE d.classid = {}::pg_catalog.regclass"
        " AND d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass"
        " AND d.refobjid = {}::pg_catalog.regnamespace"
    )
    quoted = sql.Identifier(place.schema).as_string()
    return text.format(sql.SQL(table), sql.Literal(table), sql.Literal(quoted))
