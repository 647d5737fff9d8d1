"""SQL of tasks."""

# ruff: noqa: S608 - what is put together are constants of this file

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from communication_service.domain.task import Task
from mtenant_chassis.pages import WHOLE, counted
from mtenant_database import Transaction, Verbs

_COLUMNS: Final = (
    "id, title, description, status, due_at, order_at, remind_at, reminded_at, assignee_id,"
    " contact_id, company_id, deal_id, created_by, completed_by, completed_at, created_at,"
    " updated_at, version"
)
_BY_ID: Final = f"select {_COLUMNS} from tasks where id = %s"
_LIST: Final = (
    f"select {_COLUMNS} from tasks where"
    " (%(status)s::text is null or status = %(status)s)"
    " and (%(assignee_id)s::text is null or assignee_id = %(assignee_id)s)"
    " and (%(contact_id)s::uuid is null or contact_id = %(contact_id)s)"
    " and (%(company_id)s::uuid is null or company_id = %(company_id)s)"
    " and (%(deal_id)s::uuid is null or deal_id = %(deal_id)s)"
    " and (%(due_before)s::timestamptz is null or order_at < %(due_before)s)"
    " and (%(at)s::timestamptz is null or (order_at, id) > (%(at)s, %(id)s::uuid))"
    " order by order_at, id limit %(limit)s"
)
_COUNT: Final = counted(_LIST)
_ADD: Final = (
    "insert into tasks (id, title, description, due_at, remind_at, assignee_id, contact_id,"
    " company_id, deal_id, created_by) values (%(id)s, %(title)s, %(description)s, %(due_at)s,"
    " %(remind_at)s, %(assignee_id)s, %(contact_id)s, %(company_id)s, %(deal_id)s, %(created_by)s)"
    f" returning {_COLUMNS}"
)
_CHANGE: Final = (
    "update tasks set title = %(title)s, description = %(description)s, due_at = %(due_at)s,"
    " remind_at = %(remind_at)s, reminded_at = %(reminded_at)s, assignee_id = %(assignee_id)s,"
    " contact_id = %(contact_id)s, company_id = %(company_id)s, deal_id = %(deal_id)s,"
    " updated_at = now(), version = version + 1"
    f" where id = %(id)s returning {_COLUMNS}"
)
_COMPLETE: Final = (
    "update tasks set status = 'done', completed_by = %s, completed_at = now(), updated_at = now(),"
    f" version = version + 1 where id = %s returning {_COLUMNS}"
)
_REOPEN: Final = (
    "update tasks set status = 'open', completed_by = null, completed_at = null, updated_at = now(),"
    f" version = version + 1 where id = %s returning {_COLUMNS}"
)
_REMIND: Final = (
    "update tasks set reminded_at = now(), updated_at = now(), version = version + 1 where id = %s"
)
_DELETE: Final = "delete from tasks where id = %s"


async def get(on: Verbs, task: UUID) -> Task | None:
    """Return a task."""
    return await on.fetch_optional(_BY_ID, [task], row=Task)


async def lock(tx: Transaction, task: UUID) -> Task | None:
    """Return it, and let nobody else change it until the transaction ends."""
    return await tx.fetch_optional(f"{_BY_ID} for update", [task], row=Task)


async def lock_if_free(tx: Transaction, task: UUID) -> Task | None:
    """The same; None, too, while somebody else has it: two who wait for each other wait for ever."""
    return await tx.fetch_optional(f"{_BY_ID} for update skip locked", [task], row=Task)


async def by_due(
    on: Verbs, filters: Mapping[str, Any], *, after: tuple[datetime, UUID] | None, limit: int
) -> Sequence[Task]:
    """Return those that pass all filters, in the order in which they are due."""
    at, last = after or (None, None)
    params = {**filters, "at": at, "id": last, "limit": limit}
    return await on.fetch_all(_LIST, params, row=Task)


async def count(on: Verbs, filters: Mapping[str, Any]) -> int:
    """Return how many pass all filters."""
    return int(await on.fetch_value(_COUNT, {**filters, **WHOLE}))


async def add(tx: Transaction, values: Mapping[str, Any]) -> Task:
    """Add a task."""
    return await tx.fetch_one(_ADD, values, row=Task)


async def change(tx: Transaction, values: Mapping[str, Any]) -> Task:
    """Replace what a person may change of it."""
    return await tx.fetch_one(_CHANGE, values, row=Task)


async def complete(tx: Transaction, task: UUID, who: str) -> Task:
    """Note that it is done."""
    return await tx.fetch_one(_COMPLETE, [who, task], row=Task)


async def reopen(tx: Transaction, task: UUID) -> Task:
    """Note that it is not done after all."""
    return await tx.fetch_one(_REOPEN, [task], row=Task)


async def remind(tx: Transaction, task: UUID) -> None:
    """Note that its reminder has fired."""
    await tx.execute(_REMIND, [task])


async def delete(tx: Transaction, task: UUID) -> None:
    """Remove it."""
    await tx.execute(_DELETE, [task])
