"""The scope with a driver of your own choice: it is one statement, and does no I/O.

Set EXAMPLE_DATABASE_URL, and `pip install asyncpg`, to see it run.
"""

import asyncio
import os

from mtenant_database import scope


async def names(url: str, tenant: str) -> list[str]:
    """Read one tenant's rows with asyncpg."""
    import asyncpg  # noqa: PLC0415 - the example tells what to do without it

    conn = await asyncpg.connect(url)
    try:
        async with conn.transaction():
            sql, params = scope(tenant, read_only=True, timeout=5)
            await conn.execute(sql, *params)  # an error here means: no such tenant, or suspended
            return [row["name"] for row in await conn.fetch("select name from contacts")]
    finally:
        await conn.close()


sql, params = scope("acme", read_only=True, timeout=5)
print(sql)
print(params)
if url := os.environ.get("EXAMPLE_DATABASE_URL"):
    print(asyncio.run(names(url, "acme")))
