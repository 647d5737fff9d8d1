"""A field more in an entity becomes a migration's file: nothing alters a table by itself.

Set EXAMPLE_DATABASE_URL to a database with a schema tenant_acme to compare with it.
"""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated

from mtenant_config import Secret
from mtenant_database import Database, DatabaseConfig
from mtenant_database.records import Col, Entity, ddl, diff


@dataclass(kw_only=True)
class Contact(Entity):
    """A contact; `phone` is new."""

    __tablename__ = "contacts"
    name: str
    phone: Annotated[str | None, Col(index=True)] = None


async def compare(url: str) -> None:
    """Write what tenant acme lacks."""
    folder = Path(mkdtemp()) / "tenant"
    async with Database(DatabaseConfig(url=Secret(url))) as db:
        difference = await diff(db.tenant("acme"), [Contact])
        print(difference or "nothing is missing")
        for path in difference.write(folder, "add contact phone") or ():
            print(f"-- {path.name}\n{path.read_text()}")


print(ddl(Contact))
if url := os.environ.get("EXAMPLE_DATABASE_URL"):
    asyncio.run(compare(url))
