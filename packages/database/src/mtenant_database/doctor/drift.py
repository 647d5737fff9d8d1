"""Tenants that should be alike."""

from __future__ import annotations

from mtenant_database.doctor.finding import Finding
from mtenant_database.doctor.quoting import named, shown, some
from mtenant_database.doctor.site import Site
from mtenant_database.migrate.drift import compare


async def drift(site: Site) -> list[Finding]:
    """Find tenants whose schema differs from most others at the same versions."""
    site.need_registry()
    found = []
    for one in await compare(site.link):
        lines = [f"- {line}" for line in one.missing] + [f"+ {line}" for line in one.extra]
        found.append(
            Finding(
                "drift",
                "low",
                f"schema {named(f'tenant_{one.tenant}')}",
                f"it differs from {named(one.like)} at the same versions: {shown(some(lines, 2))}",
                "make it alike by hand, or drop it; `mtenant-db tenants drift` shows every line",
            )
        )
    return found
