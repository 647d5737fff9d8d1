"""Routes of tasks and their reminders."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from communication_service.domain.task import Status, Task
from communication_service.domain.text import Id, Line, Moment, Text
from communication_service.handlers.tasks import Tasks
from communication_service.queries import task as rows
from communication_service.routes.patch import left_out
from communication_service.settings import CommunicationServiceSettings
from mtenant_chassis import (
    Audit,
    CurrentChassis,
    CurrentPrincipal,
    IfMatch,
    Page,
    PageQuery,
    Router,
    Tenant,
    Tx,
    idempotent,
    raises,
    requires,
    set_etag,
)

UserId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""A user's id, as auth-service has it."""


class NewTask(BaseModel):
    """What is to be done."""

    model_config = ConfigDict(extra="forbid", strict=True)
    title: Line
    description: Text = ""
    due_at: Moment | None = None
    remind_at: Moment | None = Field(
        default=None, description="when the assignee gets a mail; at once if that is past"
    )
    assignee_id: UserId | None = Field(default=None, description="the caller, if nobody is named")
    contact_id: Id | None = None
    company_id: Id | None = None
    deal_id: Id | None = None


class TaskPatch(BaseModel):
    """What is not so any more (RFC 7396); what is left out stays."""

    model_config = ConfigDict(extra="forbid", strict=True)
    title: Line = left_out()
    description: Text = left_out()
    due_at: Moment | None = None
    remind_at: Moment | None = None
    assignee_id: UserId = left_out()
    contact_id: Id | None = None
    company_id: Id | None = None
    deal_id: Id | None = None


class Snooze(BaseModel):
    """When to be reminded instead."""

    model_config = ConfigDict(extra="forbid", strict=True)
    until: Moment


class TaskView(BaseModel):
    """A task."""

    id: UUID
    title: str
    description: str
    status: Status
    due_at: datetime | None
    remind_at: datetime | None
    reminded_at: datetime | None = Field(description="when the reminder fired")
    assignee_id: str
    contact_id: UUID | None
    company_id: UUID | None
    deal_id: UUID | None
    created_by: str
    completed_by: str | None
    completed_at: datetime | None
    created_at: datetime
    updated_at: datetime
    version: int

    @classmethod
    def of(cls, one: Task, response: Response | None = None) -> TaskView:
        """Return what may be seen of a task; its version is the answer's."""
        if response is not None:
            set_etag(response, one.version)
        return cls(**{name: getattr(one, name) for name in cls.model_fields})


def tasks_router(own: CommunicationServiceSettings) -> Router:
    """Return the routes of tasks."""
    router = Router(prefix="/api/tasks", tags=["tasks"])

    @router.post(
        "",
        status_code=201,
        dependencies=[requires("tasks:write"), idempotent()],
        responses=raises(502),
    )
    async def add(
        *,
        asked: NewTask,
        tx: Tx,
        who: CurrentPrincipal,
        audit: Audit,
        chassis: CurrentChassis,
        response: Response,
    ) -> TaskView:
        """Add a task."""
        made = await Tasks(chassis, own).add(tx, who, audit, asked.model_dump())
        response.headers["location"] = f"/api/tasks/{made.id}"
        return TaskView.of(made, response)

    @router.get("", dependencies=[requires("tasks:read")])
    async def list_tasks(
        *,
        tenant: Tenant,
        page: PageQuery,
        status: Annotated[Status | None, Query()] = None,
        assignee_id: Annotated[UserId | None, Query()] = None,
        contact_id: Annotated[UUID | None, Query()] = None,
        company_id: Annotated[UUID | None, Query()] = None,
        deal_id: Annotated[UUID | None, Query()] = None,
        due_before: Annotated[Moment | None, Query()] = None,
    ) -> Page[TaskView]:
        """List tasks in the order in which they are due; those without a day come last."""
        filters = {
            "status": status,
            "assignee_id": assignee_id,
            "contact_id": contact_id,
            "company_id": company_id,
            "deal_id": deal_id,
            "due_before": due_before,
        }
        after = page.after(datetime, UUID, of=("order_at, id", sorted(filters.items())))
        found = await rows.by_due(
            tenant, filters, after=(after[0], after[1]) if after else None, limit=page.limit + 1
        )
        places = {one.id: one.order_at for one in found}
        views = [TaskView.of(one) for one in found]
        total = await page.total(lambda: rows.count(tenant, filters))
        return page.of(views, key=lambda one: (places[one.id], one.id), total=total)

    @router.get("/{task_id}", dependencies=[requires("tasks:read")])
    async def get(
        task_id: UUID, tenant: Tenant, chassis: CurrentChassis, response: Response
    ) -> TaskView:
        """Return a task."""
        return TaskView.of(await Tasks(chassis, own).get(tenant, task_id), response)

    @router.patch("/{task_id}", dependencies=[requires("tasks:write")], responses=raises(502))
    async def change(
        *,
        task_id: UUID,
        asked: TaskPatch,
        tx: Tx,
        who: CurrentPrincipal,
        audit: Audit,
        if_match: IfMatch,
        chassis: CurrentChassis,
        response: Response,
    ) -> TaskView:
        """Change a task; another `remind_at` is another reminder."""
        changes: dict[str, Any] = asked.model_dump(exclude_unset=True)
        changed = await Tasks(chassis, own).change(
            tx, who, audit, task_id, changes=changes, if_match=if_match
        )
        return TaskView.of(changed, response)

    @router.delete("/{task_id}", status_code=204, dependencies=[requires("tasks:delete")])
    async def delete(
        task_id: UUID, tx: Tx, audit: Audit, if_match: IfMatch, chassis: CurrentChassis
    ) -> None:
        """Remove a task and its reminder."""
        await Tasks(chassis, own).delete(tx, audit, task_id, if_match)

    @router.post("/{task_id}/complete", dependencies=[requires("tasks:write"), idempotent()])
    async def complete(
        *,
        task_id: UUID,
        tx: Tx,
        audit: Audit,
        if_match: IfMatch,
        chassis: CurrentChassis,
        response: Response,
    ) -> TaskView:
        """Note that it is done; nobody is reminded any more."""
        return TaskView.of(
            await Tasks(chassis, own).complete(tx, audit, task_id, if_match), response
        )

    @router.post("/{task_id}/reopen", dependencies=[requires("tasks:write"), idempotent()])
    async def reopen(
        *,
        task_id: UUID,
        tx: Tx,
        audit: Audit,
        if_match: IfMatch,
        chassis: CurrentChassis,
        response: Response,
    ) -> TaskView:
        """Note that it is not done after all."""
        return TaskView.of(await Tasks(chassis, own).reopen(tx, audit, task_id, if_match), response)

    @router.post("/{task_id}/snooze", dependencies=[requires("tasks:write"), idempotent()])
    async def snooze(
        *,
        task_id: UUID,
        asked: Snooze,
        tx: Tx,
        audit: Audit,
        if_match: IfMatch,
        chassis: CurrentChassis,
        response: Response,
    ) -> TaskView:
        """Be reminded later, whether or not the reminder has fired."""
        later = await Tasks(chassis, own).snooze(tx, audit, task_id, asked.until, if_match)
        return TaskView.of(later, response)

    return router
