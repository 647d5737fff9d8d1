"""A repository of your own, tested without a server."""

import asyncio
from dataclasses import dataclass
from typing import Annotated

from mtenant_database.errors import RowNotFound
from mtenant_database.records import Auditable, Col, Entity, Repository, Versioned, acting_as
from mtenant_database.testing import RecordingDatabase


@dataclass(kw_only=True)
class Contact(Versioned, Auditable, Entity):
    """A contact: an id, who and when, a version, and what is its own."""

    __tablename__ = "contacts"
    name: str
    email: Annotated[str | None, Col(unique=True)] = None


class Contacts(Repository[Contact], entity=Contact):
    """What a program asks of its contacts."""

    async def by_email(self, email: str) -> Contact:
        """Return the contact with this address."""
        found = await self.find(self.table["email"] == email)
        if found is None:
            raise RowNotFound(internal="no contact has this address")
        return found


async def main() -> None:
    """With a server it is `db = Database.from_env()`, and nothing else is different."""
    db = RecordingDatabase()
    query = Contacts(db.tenant("acme")).select().where(Contacts.table["email"] == "x").limit(2)
    ada = Contact(name="Ada", email="ada@example.com")
    db.on(str(query.build().query.as_string()), rows=[vars(ada)])

    with acting_as("user-7"):
        print(await Contacts(db.tenant("acme")).by_email("ada@example.com"))
    print(db.recorded[0].tenant, "was asked:", db.recorded[0].statement)


asyncio.run(main())
