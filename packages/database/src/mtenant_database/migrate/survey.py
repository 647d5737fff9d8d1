"""The state of a fleet, in one query: which tenant is behind its target, and of which component."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from psycopg import sql

from mtenant_database.migrate import preamble
from mtenant_database.migrate.errors import NotInstalled, UnknownTenant, UnknownVersion
from mtenant_database.migrate.link import Link, ScriptFailed, text_of
from mtenant_database.migrate.patience import Again, patiently
from mtenant_database.migrate.planner import Target
from mtenant_database.migrate.settings import MigrateSettings
from mtenant_database.migrate.work import ABSENT


@dataclass(frozen=True)
class Standing:
    """Where a tenant stands with one component.

    Attributes:
        tenant: Its id.
        component: The component.
        version: The newest version that is applied, contract migrations aside; 0 for none.
        contract: The newest contract migration that is applied; 0 for none.
        head: The version at which tenants are wanted.
        contracted: The newest contract migration that may run.
    """

    tenant: str
    component: str
    version: int
    contract: int
    head: int
    contracted: int

    @property
    def behind(self) -> bool:
        """Whether something is to be applied."""
        return self.version < self.head or self.contract < self.contracted

    def above(self, version: int) -> bool:
        """Tell whether something is to be undone to get to a version."""
        return max(self.version, self.contract) > version


@dataclass(frozen=True)
class Question:
    """Which tenants a run is about.

    Attributes:
        components: Only these; None for all.
        tenants: Only these; None for all.
        ceiling: None to find those behind the registry's head; a version to find those above it.
        head: With a ceiling: those that are behind this version as well.
    """

    components: frozenset[str] | None = None
    tenants: frozenset[str] | None = None
    ceiling: int | None = None
    head: int | None = None

    def target(self, standings: Collection[Standing]) -> Target:
        """Return the target of a tenant, given where it stands."""
        heads = {one.component: one.head for one in standings}
        contracted = {one.component: one.contracted for one in standings}
        if self.ceiling is None:
            return Target(heads, contracted)
        return Target(
            dict.fromkeys(heads, self.ceiling if self.head is None else self.head),
            {name: min(version, self.ceiling) for name, version in contracted.items()},
            dict.fromkeys(heads, self.ceiling),
        )


def select_standings(question: Question, *, everybody: bool = False) -> sql.Composed:
    """Return the query of the standings that need work, as one JSON value.

    Args:
        question: Which.
        everybody: Also those that are where they should be.
    """
    terms: list[sql.Composable] = [sql.SQL("t.status IN ('active', 'suspended')")]
    if question.components is not None:
        names = sql.Literal(sorted(question.components))
        terms.append(sql.SQL("c.name = ANY({}::text[])").format(names))
    if question.tenants is not None:
        ids = sql.Literal(sorted(question.tenants))
        terms.append(sql.SQL("t.id = ANY({}::text[])").format(ids))
    if not everybody:
        terms.append(_needs_work(question))
    return sql.SQL(
        "SELECT coalesce(json_agg(json_build_array(t.id, c.name, coalesce(v.version, 0),"
        " coalesce(v.contract, 0), c.head, c.contracted) ORDER BY t.id, c.name), '[]')"
        " FROM shared.tenants t CROSS JOIN shared.components c LEFT JOIN shared.tenant_versions v"
        " ON (v.tenant, v.component) = (t.id, c.name) WHERE {}"
    ).format(sql.SQL(" AND ").join(terms))


def _needs_work(question: Question) -> sql.Composable:
    if question.ceiling is None:
        return sql.SQL(
            "(coalesce(v.version, 0) < c.head OR coalesce(v.contract, 0) < c.contracted)"
        )
    above = sql.SQL("greatest(v.version, v.contract) > {}").format(sql.Literal(question.ceiling))
    if question.head is None:
        return above
    return sql.SQL("({} OR coalesce(v.version, 0) < {})").format(above, sql.Literal(question.head))


async def survey(
    link: Link, settings: MigrateSettings, question: Question, *, everybody: bool = False
) -> dict[str, list[Standing]]:
    """Ask one query, and return by tenant what stands where it should not.

    Raises:
        NotInstalled: There is no registry.
    """
    query = select_standings(question, everybody=everybody)
    text = sql.SQL("BEGIN READ ONLY; {} {}; COMMIT").format(preamble.set_role(settings), query)
    rows = json.loads(await _ask(link, settings, text) or "[]")
    found: dict[str, list[Standing]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(Standing(*row))
    return found


async def check_names(
    link: Link,
    settings: MigrateSettings,
    tenants: Iterable[str],
    components: Iterable[str],
) -> None:
    """Look whether what is named is there: a slip of the pen is not "nothing to do".

    Raises:
        UnknownTenant: A tenant is not, or is neither active nor suspended.
        UnknownVersion: A component is not.
        NotInstalled: There is no registry.
    """
    query = sql.SQL(
        "SELECT json_build_array("
        "(SELECT string_agg(named, ', ' ORDER BY named) FROM unnest({}::text[]) named WHERE NOT EXISTS"
        " (SELECT FROM shared.tenants WHERE id = named AND status IN ('active', 'suspended'))),"
        "(SELECT string_agg(named, ', ' ORDER BY named) FROM unnest({}::text[]) named WHERE NOT EXISTS"
        " (SELECT FROM shared.components c WHERE c.name = named)))"
    ).format(sql.Literal(sorted(tenants)), sql.Literal(sorted(components)))
    text = sql.SQL("BEGIN READ ONLY; {} {}; COMMIT").format(preamble.set_role(settings), query)
    nobody, nothing = json.loads(await _ask(link, settings, text) or "[]")
    if nobody is not None:
        raise UnknownTenant(tenant=nobody, wanted="active or suspended")
    if nothing is not None:
        raise UnknownVersion(f"nothing is registered of {nothing}")


async def _ask(link: Link, settings: MigrateSettings, text: sql.Composed) -> str | None:
    """Ask one question, again if the connection was broken: it idles while a run is at work."""

    async def attempt() -> str | None:
        try:
            return text_of((await link.run(text.as_string()))[-2])
        except ScriptFailed as exc:
            await link.rollback()
            if exc.sqlstate in ABSENT:
                raise NotInstalled(where="the database") from exc.error
            err = exc.explain("the registry")
            raise (Again(err) if exc.lost else err) from exc.error

    return await patiently(attempt, settings, "the registry")
