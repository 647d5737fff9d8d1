"""Entities and repositories: dataclasses that say what their table is, and what is done with their rows.

>>> from dataclasses import dataclass
>>> from typing import Annotated
>>> from mtenant_database.records import Auditable, Col, Entity, Repository, Versioned, ddl
>>> @dataclass(kw_only=True)
... class Contact(Versioned, Auditable, Entity):
...     __tablename__ = "contacts"
...     name: str
...     email: Annotated[str | None, Col(unique=True)] = None
>>> class Contacts(Repository[Contact], entity=Contact):
...     pass
>>> print(ddl(Contact).splitlines()[-1])
CREATE UNIQUE INDEX contacts_email_key ON contacts (email) WHERE deleted_at IS NULL;

`await Contacts(acme).create(Contact(name="Ada"))`; `await diff(acme, [Contact])` says what a schema lacks.
"""

from mtenant_database.records.actor import acting_as, current_actor
from mtenant_database.records.column import Col
from mtenant_database.records.ddl import ddl
from mtenant_database.records.diff import Difference, diff
from mtenant_database.records.entity import (
    Auditable,
    Entity,
    Index,
    SoftDeletable,
    TenantScoped,
    Versioned,
    new_id,
)
from mtenant_database.records.repository import Repository

__all__ = [
    "Auditable",
    "Col",
    "Difference",
    "Entity",
    "Index",
    "Repository",
    "SoftDeletable",
    "TenantScoped",
    "Versioned",
    "acting_as",
    "current_actor",
    "ddl",
    "diff",
    "new_id",
]
