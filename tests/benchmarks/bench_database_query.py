"""What building a statement costs, beside the same statement composed by hand with psycopg.sql.

python tests/benchmarks/bench_database_query.py
"""

from __future__ import annotations

import sys

from harness import Bound, Case, Comparison, report
from psycopg import sql

from mtenant_database.query import select, table

OURS, HAND = "mtenant_database.query", "psycopg.sql by hand"
COLUMNS = ("id", "name", "email", "created_at")
contacts = table("contacts")


def build(n: int) -> None:
    """Build and render a select with five filters."""
    for number in range(n):
        query = (
            select(*(contacts[name] for name in COLUMNS), from_=contacts)
            .where(
                contacts["status"] == "active",
                contacts["owner_id"] == number,
                contacts["created_at"] >= "2026-01-01",
                contacts["name"].startswith("A"),
                contacts["deleted_at"].is_null(),
            )
            .order_by(contacts["name"].asc(), contacts["id"].asc())
            .limit(50)
        )
        built, params = query.build()
        built.as_string()
        len(params)


def compose(n: int) -> None:
    """Compose and render the same."""
    source = sql.Identifier("contacts")
    for number in range(n):
        params = ["active", number, "2026-01-01", "A%", 50]

        def column(name: str) -> sql.Identifier:
            return sql.Identifier("contacts", name)

        filters = [
            sql.SQL("{} = %s").format(column("status")),
            sql.SQL("{} = %s").format(column("owner_id")),
            sql.SQL("{} >= %s").format(column("created_at")),
            sql.SQL("{} LIKE %s").format(column("name")),
            sql.SQL("{} IS NULL").format(column("deleted_at")),
        ]
        built = sql.SQL("SELECT {} FROM {} WHERE {} ORDER BY {} ASC, {} ASC LIMIT %s").format(
            sql.SQL(", ").join(column(name) for name in COLUMNS),
            source,
            sql.SQL(" AND ").join(filters),
            column("name"),
            column("id"),
        )
        built.as_string()
        len(params)


def main() -> int:
    """Compare, and tell by the exit status whether the promise was kept."""
    comparison = Comparison(
        "database: build and render a select with five filters",
        [Case(OURS, build), Case(HAND, compose)],
        [Bound(OURS, HAND, 1.5)],
    )
    return report("database_query", [comparison])


if __name__ == "__main__":
    sys.exit(main())
