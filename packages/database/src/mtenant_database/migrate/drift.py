"""Drift: schemas that should be alike and are not, found by one query of fingerprints."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Final

from psycopg import sql

from mtenant_database.migrate.link import Link
from mtenant_database.migrate.settings import MigrateSettings
from mtenant_database.migrate.transaction import first_value, in_transaction

# One line for each thing of a schema. What pg_get_* says is qualified with the schema's own name,
# which is taken out, so that two schemas that are alike have the same lines. Each branch joins all
# schemas at once: a catalog has no index by schema, and to be read for each schema is quadratic.
_LINES: Final = sql.SQL("""
schemas AS MATERIALIZED (
    SELECT n.oid, n.nspname FROM pg_namespace n JOIN shared.tenants t ON n.nspname = 'tenant_' || t.id
    WHERE t.status IN ('active', 'suspended') AND ({})
), found (nspname, line) AS (
    SELECT n.nspname, 'table ' || c.relname || ' ' || c.relkind::text
        || CASE WHEN c.relrowsecurity THEN ' rls' ELSE '' END
    FROM schemas n JOIN pg_class c ON c.relnamespace = n.oid
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    UNION ALL
    SELECT n.nspname, 'column ' || c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
        || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
        || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
        || a.attidentity::text || a.attgenerated::text
    FROM schemas n JOIN pg_class c ON c.relnamespace = n.oid JOIN pg_attribute a ON a.attrelid = c.oid
    LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT n.nspname, 'constraint ' || c.relname || '.' || k.conname || ' ' || pg_get_constraintdef(k.oid)
    FROM schemas n JOIN pg_constraint k ON k.connamespace = n.oid JOIN pg_class c ON c.oid = k.conrelid
    WHERE k.contype <> 'n'
    UNION ALL
    SELECT n.nspname, 'index ' || c.relname || ' ' || pg_get_indexdef(c.oid)
        || CASE WHEN i.indisvalid THEN '' ELSE ' invalid' END
    FROM schemas n JOIN pg_class c ON c.relnamespace = n.oid JOIN pg_index i ON i.indexrelid = c.oid
    UNION ALL
    SELECT n.nspname, 'view ' || c.relname || ' ' || pg_get_viewdef(c.oid)
    FROM schemas n JOIN pg_class c ON c.relnamespace = n.oid WHERE c.relkind IN ('v', 'm')
    UNION ALL
    SELECT n.nspname, 'trigger ' || c.relname || '.' || g.tgname || ' ' || pg_get_triggerdef(g.oid)
    FROM schemas n JOIN pg_class c ON c.relnamespace = n.oid JOIN pg_trigger g ON g.tgrelid = c.oid
    WHERE NOT g.tgisinternal
    UNION ALL
    SELECT n.nspname, 'policy ' || c.relname || '.' || p.polname || ' ' || p.polcmd::text || ' '
        || coalesce(pg_get_expr(p.polqual, p.polrelid), '') || ' '
        || coalesce(pg_get_expr(p.polwithcheck, p.polrelid), '')
    FROM schemas n JOIN pg_class c ON c.relnamespace = n.oid JOIN pg_policy p ON p.polrelid = c.oid
    UNION ALL
    SELECT n.nspname, 'function ' || f.proname || ' ' || pg_get_functiondef(f.oid)
    FROM schemas n JOIN pg_proc f ON f.pronamespace = n.oid WHERE f.prokind IN ('f', 'p')
    UNION ALL
    SELECT n.nspname, 'type ' || y.typname
    FROM schemas n JOIN pg_type y ON y.typnamespace = n.oid WHERE y.typtype IN ('d', 'e', 'r')
), lines AS (
    SELECT nspname, replace(line, quote_ident(nspname) || '.', '') AS line FROM found
)
""")


@dataclass(frozen=True)
class Drift:
    """A tenant that differs from others at the same versions.

    Attributes:
        tenant: Its id.
        like: A tenant that it should be like: most at its versions are.
        missing: What the other has and this one has not, one line each.
        extra: What this one has and the other has not.
    """

    tenant: str
    like: str
    missing: tuple[str, ...]
    extra: tuple[str, ...]


async def find_drift(conninfo: str, *, settings: MigrateSettings | None = None) -> list[Drift]:
    """Return the tenants whose schema is not like those of most others at the same versions.

    One query makes a fingerprint of each schema; only for those that differ a second one looks at
    what it is.

    Raises:
        NotInstalled: There is no registry.
    """
    async with Link(conninfo) as link:
        return await in_transaction(link, settings or MigrateSettings(), compare)


async def compare(link: Link) -> list[Drift]:
    """Return what `find_drift` does, in the open transaction; its path is `pg_catalog`."""
    rows = json.loads(await first_value(link, _FINGERPRINTS) or "[]")
    drifted = odd_ones([(row[0], json.dumps(row[1]), row[2]) for row in rows])
    if not drifted:
        return []
    names = sorted({*drifted, *drifted.values()})
    which = sql.SQL("n.nspname = ANY({})").format(sql.Literal([f"tenant_{name}" for name in names]))
    query = _DETAILS.format(_LINES.format(which))
    lines = json.loads(await first_value(link, query) or "{}")
    found = {name: {*lines.get(f"tenant_{name}", ())} for name in names}
    return [
        Drift(one, like, _sorted(found[like] - found[one]), _sorted(found[one] - found[like]))
        for one, like in drifted.items()
    ]


def odd_ones(fingerprints: list[tuple[str, str, str]]) -> dict[str, str]:
    """Return the tenants that differ from most at the same versions, each with one of those.

    Args:
        fingerprints: Tenant, versions, fingerprint.

    >>> odd_ones([("a", "1", "x"), ("b", "1", "x"), ("c", "1", "y"), ("d", "2", "z")])
    {'c': 'a'}
    """
    groups: dict[str, list[tuple[str, str]]] = {}
    for tenant, versions, fingerprint in sorted(fingerprints):
        groups.setdefault(versions, []).append((tenant, fingerprint))
    odd: dict[str, str] = {}
    for group in groups.values():
        usual = Counter(fingerprint for _, fingerprint in group).most_common(1)[0][0]
        like = next(tenant for tenant, fingerprint in group if fingerprint == usual)
        odd |= {tenant: like for tenant, fingerprint in group if fingerprint != usual}
    return odd


def _sorted(lines: set[str]) -> tuple[str, ...]:
    return tuple(sorted(" ".join(line.split()) for line in lines))


_FINGERPRINTS: Final = sql.SQL(
    "WITH {}, prints AS (SELECT nspname, md5(string_agg(line, E'\\n' ORDER BY line"
    ' COLLATE "C")) AS print FROM lines GROUP BY nspname)'
    " SELECT json_agg(json_build_array(t.id, (SELECT json_agg(json_build_array(v.component, v.version,"
    " v.contract) ORDER BY v.component) FROM shared.tenant_versions v WHERE v.tenant = t.id),"
    " coalesce(p.print, '')) ORDER BY t.id) FROM shared.tenants t LEFT JOIN prints p"
    " ON p.nspname = 'tenant_' || t.id WHERE t.status IN ('active', 'suspended')"
).format(_LINES.format(sql.SQL("true")))
_DETAILS: Final = sql.SQL(
    "WITH {} SELECT json_object_agg(nspname, found) FROM"
    " (SELECT nspname, json_agg(line) AS found FROM lines GROUP BY nspname) grouped"
)
