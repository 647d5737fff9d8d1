"""How the server carries out the statements of a service."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from mtenant_database import Transaction


class Plan(NamedTuple):
    """A statement, and how it would be carried out.

    Attributes:
        query: Its text.
        params: Its parameters.
        plan: What EXPLAIN says, as JSON.
    """

    query: str
    params: Any
    plan: Any


class Explaining:
    """A transaction whose statements are explained before they are run.

    Args:
        tx: Which one.
        plans: Where to put them, for several transactions; a list of its own by default.

    Attributes:
        tx: As given: what is asked of it itself is not explained.
        plans: Of each statement that was run.
    """

    def __init__(self, tx: Transaction, plans: list[Plan] | None = None) -> None:
        self.tx = tx
        self.plans: list[Plan] = [] if plans is None else plans

    @property
    def tenant(self) -> str | None:
        """As of the transaction."""
        return self.tx.tenant

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self.tx, name)

        async def run(query: Any, params: Any = None, **options: Any) -> Any:
            text = query.decode() if isinstance(query, bytes) else query
            found = await self.tx.fetch_value(f"explain (format json) {text}".encode(), params)
            plan = json.loads(found) if isinstance(found, str) else found
            self.plans.append(Plan(text, params, plan))
            return await verb(query, params, **options)

        return run


def scans(plan: Any, large: Collection[str]) -> Iterator[str]:
    """Yield those of some tables that a plan reads from end to end."""
    if isinstance(plan, list):
        for one in plan:
            yield from scans(one, large)
    elif isinstance(plan, dict):
        if plan.get("Node Type") == "Seq Scan" and plan["Relation Name"] in large:
            yield plan["Relation Name"]
        for one in plan.values():
            if isinstance(one, dict | list):
                yield from scans(one, large)
