"""The audit trail: who did what to which thing, in the transaction that did it.

```python
@router.delete("/{contact_id}", dependencies=[requires("contacts:delete")], status_code=204)
async def delete(contact_id: UUID, tx: Tx, audit: Audit) -> None:
    contact = await queries.delete(tx, contact_id)
    await audit.record(tx, "contact.deleted", "contact", contact_id, before={"name": contact.name})
```

What stands in `before` and `after` is what the service puts there: no password, no token.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Query, Request
from pydantic import BaseModel
from pydantic_core import to_json

from mtenant_chassis.auth.access import requires
from mtenant_chassis.pages import WHOLE, Page, PageQuery, counted
from mtenant_chassis.parameters import given
from mtenant_chassis.route import Router
from mtenant_chassis.tenancy import Tenant
from mtenant_database import Transaction

_ADD: Final = (
    "insert into audit_entries (id, service, actor, action, entity, entity_id, before, after,"
    " request_id) values (gen_random_uuid(), %s, %s, %s, %s, %s, %s, %s, %s)"
)
_ERASE: Final = (
    "update audit_entries set before = null, after = null"
    " where service = %s and entity = %s and entity_id = any(%s)"
)
_LIST: Final = (
    "select id, at, actor, action, entity, entity_id, before, after, request_id from audit_entries"
    " where service = %(service)s and (%(entity)s::text is null or entity = %(entity)s)"
    " and (%(entity_id)s::text is null or entity_id = %(entity_id)s)"
    " and (%(at)s::timestamptz is null or (at, id) < (%(at)s, %(id)s::uuid))"
    " order by at desc, id desc limit %(limit)s"
)
_COUNT: Final = counted(_LIST)


class AuditEntry(BaseModel):
    """One thing that somebody did."""

    id: UUID
    at: datetime
    actor: str
    action: str
    entity: str
    entity_id: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    request_id: str | None


@dataclass(frozen=True)
class Done:
    """A change, for `AuditTrail.record_many`; its fields are the arguments of `record`."""

    action: str
    entity: str
    entity_id: object = None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class AuditTrail:
    """Writes entries of one request, or of one event.

    Attributes:
        service: Whose entries they are.
        actor: Who acts: `user:<id>`, `service:<name>` or `anonymous`.
        request_id: Under which the logs have it.
    """

    service: str
    actor: str
    request_id: str | None = None

    async def record(
        self,
        tx: Transaction,
        action: str,
        entity: str,
        entity_id: object = None,
        *,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
    ) -> None:
        """Write an entry in the transaction of the change, with its next statement or its COMMIT.

        Args:
            tx: The open transaction.
            action: What was done, such as `contact.deleted`.
            entity: To what kind of thing.
            entity_id: To which.
            before: What it was, JSON values; UUIDs and dates become text, as pydantic writes them.
            after: What it is now.

        Raises:
            ValueError: A value cannot be written as JSON.
        """
        await tx.queue(_ADD, self._values(action, entity, entity_id, before, after))

    async def record_many(self, tx: Transaction, done: Iterable[Done]) -> None:
        """Write an entry for each of many changes, a thousand of them in one round trip."""
        rows = [
            self._values(one.action, one.entity, one.entity_id, one.before, one.after)
            for one in done
        ]
        await tx.execute_many(_ADD, rows)

    async def erase(self, tx: Transaction, entity: str, entity_ids: Iterable[object]) -> None:
        """Take the values out of the entries of things that were purged; who did what when stays.

        Args:
            tx: The open transaction.
            entity: The kind of things.
            entity_ids: Which of them.
        """
        await tx.queue(_ERASE, [self.service, entity, [str(one) for one in entity_ids]])

    def _values(
        self,
        action: str,
        entity: str,
        entity_id: object,
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any] | None,
    ) -> list[object]:
        about = None if entity_id is None else str(entity_id)
        values = [self.service, self.actor, action, entity, about]
        return [*values, _json(before), _json(after), self.request_id]


def _json(values: Mapping[str, Any] | None) -> str | None:
    # NaN as it is, which the server refuses, and not as null.
    return None if values is None else to_json(values, inf_nan_mode="constants").decode()


async def audit_of(request: Request) -> AuditTrail:
    """Return the trail of a request."""
    state = request.scope["state"]
    principal = state.get("principal")
    actor = "anonymous" if principal is None else principal.key
    service = request.app.state.chassis.settings.service
    return AuditTrail(service, actor, state.get("request_id"))


Audit = Annotated[AuditTrail, given(audit_of)]
"""The request's trail, as a parameter of a route."""


async def _count(tenant: Tenant, which: Mapping[str, Any]) -> int:
    return int(await tenant.fetch_value(_COUNT, {**which, **WHOLE}))


def audit_router(path: str) -> Router:
    """Return the route that lists a service's entries, newest first; for those who may `audit:manage`.

    Args:
        path: Where, such as `/api/contacts/audit`.
    """
    router = Router(tags=["audit"])

    @router.get(path, dependencies=[requires("audit:manage")], name="audit")
    async def entries(
        request: Request,
        tenant: Tenant,
        page: PageQuery,
        entity: Annotated[str | None, Query(max_length=100)] = None,
        entity_id: Annotated[str | None, Query(max_length=100)] = None,
    ) -> Page[AuditEntry]:
        """List what was done, newest first."""
        service = request.app.state.chassis.settings.service
        at, last = page.after(datetime, UUID, of=("at, id", entity, entity_id)) or (None, None)
        which = {"service": service, "entity": entity, "entity_id": entity_id}
        begin = {"at": at, "id": last, "limit": page.limit + 1}
        rows = await tenant.fetch_all(_LIST, which | begin, row=dict)
        found = [AuditEntry(**row) for row in rows]
        total = await page.total(lambda: _count(tenant, which))
        return page.of(found, key=lambda one: (one.at, one.id), total=total)

    return router
