"""Tasks and their reminders."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from communication_service.domain.activity import Related
from communication_service.domain.errors import TaskClosed, TaskNotFound
from communication_service.domain.follow_up import REMINDER
from communication_service.domain.identity import new_id
from communication_service.domain.order import Plan
from communication_service.domain.task import Task
from communication_service.handlers.directory import Directory
from communication_service.handlers.scheduled import ScheduledEmails
from communication_service.queries import schedule
from communication_service.queries import task as rows
from communication_service.settings import CommunicationServiceSettings
from mtenant_chassis import AuditTrail, Chassis, Principal
from mtenant_chassis.etag import Condition
from mtenant_database import Transaction, Verbs

_CHANGEABLE = (
    *("title", "description", "due_at", "remind_at", "reminded_at", "assignee_id"),
    *("contact_id", "company_id", "deal_id"),
)


class Tasks:
    """Keeps what is to be done.

    Args:
        chassis: Of the running app.
        own: This service's settings.
    """

    def __init__(self, chassis: Chassis, own: CommunicationServiceSettings) -> None:
        self._chassis = chassis
        self._own = own

    async def get(self, on: Verbs, task: UUID) -> Task:
        """Return a task.

        Raises:
            TaskNotFound: There is none.
        """
        found = await rows.get(on, task)
        if found is None:
            raise TaskNotFound
        return found

    async def add(
        self, tx: Transaction, who: Principal, audit: AuditTrail, asked: Mapping[str, Any]
    ) -> Task:
        """Add a task; without an assignee it is the caller's.

        Raises:
            RelatedNotFound: What it is about is not there, or its assignee.
        """
        await self._check(tx, who, asked)
        values = {**asked, "assignee_id": asked["assignee_id"] or who.id, "created_by": audit.actor}
        made = await rows.add(tx, {**values, "id": new_id()})
        await self._plan(tx, made)
        await audit.record(tx, "task.created", "task", made.id, after={"title": made.title})
        return made

    async def change(
        self,
        tx: Transaction,
        who: Principal,
        audit: AuditTrail,
        task: UUID,
        *,
        changes: Mapping[str, Any],
        if_match: Condition,
    ) -> Task:
        """Change a task; another time to be reminded is another reminder.

        Raises:
            TaskNotFound: There is none.
            VersionMismatch: It was changed since it was read.
            RelatedNotFound: What it is about is not there, or its assignee.
        """
        await self._check(tx, who, changes)
        found = await self._lock(tx, task, if_match)
        values = {name: getattr(found, name) for name in _CHANGEABLE} | dict(changes)
        if "remind_at" in changes and changes["remind_at"] != found.remind_at:
            values["reminded_at"] = None
        changed = await rows.change(tx, {**values, "id": task})
        await self._plan(tx, changed)
        await audit.record(tx, "task.changed", "task", task, after={"changed": sorted(changes)})
        return changed

    async def snooze(
        self, tx: Transaction, audit: AuditTrail, task: UUID, until: datetime, if_match: Condition
    ) -> Task:
        """Be reminded at another time, whether or not the reminder has fired.

        Raises:
            TaskNotFound: There is none.
            TaskClosed: It is done.
            VersionMismatch: It was changed since it was read.
        """
        found = await self._lock(tx, task, if_match)
        if found.status != "open":
            raise TaskClosed
        values = {name: getattr(found, name) for name in _CHANGEABLE}
        later = {**values, "remind_at": until, "reminded_at": None, "id": task}
        changed = await rows.change(tx, later)
        await self._plan(tx, changed)
        await audit.record(tx, "task.snoozed", "task", task, after={"until": until.isoformat()})
        return changed

    async def complete(
        self, tx: Transaction, audit: AuditTrail, task: UUID, if_match: Condition
    ) -> Task:
        """Note that it is done; nobody is reminded any more. Nothing happens if that is noted.

        Raises:
            TaskNotFound: There is none.
            VersionMismatch: It was changed since it was read.
        """
        found = await self._lock(tx, task, if_match)
        if found.status == "done":
            return found
        done = await rows.complete(tx, task, audit.actor)
        await self._plan(tx, done)
        await audit.record(tx, "task.completed", "task", task)
        return done

    async def reopen(
        self, tx: Transaction, audit: AuditTrail, task: UUID, if_match: Condition
    ) -> Task:
        """Note that it is not done after all; a reminder that has not fired comes yet.

        Raises:
            TaskNotFound: There is none.
            VersionMismatch: It was changed since it was read.
        """
        found = await self._lock(tx, task, if_match)
        if found.status == "open":
            return found
        again = await rows.reopen(tx, task)
        await self._plan(tx, again)
        await audit.record(tx, "task.reopened", "task", task)
        return again

    async def delete(
        self, tx: Transaction, audit: AuditTrail, task: UUID, if_match: Condition
    ) -> None:
        """Remove a task and its reminder.

        Raises:
            TaskNotFound: There is none.
            VersionMismatch: It was changed since it was read.
        """
        found = await self._lock(tx, task, if_match)
        await rows.delete(tx, task)
        await schedule.remove(tx, task)
        await audit.record(tx, "task.deleted", "task", task, before={"title": found.title})

    async def remind(self, tenant: str, task: UUID) -> bool:
        """Fire the reminder of a task, if it is to fire; tell whether anything was done.

        What is due is claimed by locks of the transaction that does it: of five who try at once one gets
        through, and one that dies leaves nothing behind, not even a lease.
        """
        async with self._chassis.tenant(tenant).transaction() as tx:
            if not await schedule.claim(tx, task):
                return False
            found = await rows.lock_if_free(tx, task)
            if found is None and await rows.get(tx, task) is not None:
                return False  # somebody changes it now: the next look sees as what
            # What is claimed is due: whoever moves a reminder moves the schedule with it, and waits for us.
            if found is not None and found.waits_for_reminder:
                await rows.remind(tx, task)
                service = self._chassis.settings.service
                trail = AuditTrail(service, f"service:{service}")
                await trail.record(tx, "task.reminded", "task", task)
                await ScheduledEmails(self._chassis, self._own).plan(
                    tx, _reminder(self._chassis, found)
                )
            await schedule.remove(tx, task)
            return True

    async def _check(self, tx: Transaction, who: Principal, asked: Mapping[str, Any]) -> None:
        directory = Directory(self._chassis, tx.tenant or "")
        named = {
            f"{entity}_ids": [asked[f"{entity}_id"]]
            for entity in ("contact", "company", "deal")
            if asked.get(f"{entity}_id") is not None
        }
        await directory.check(Related(**named))
        assignee = asked.get("assignee_id")
        if assignee is not None and assignee != who.id:
            await directory.user(assignee)

    async def _lock(self, tx: Transaction, task: UUID, if_match: Condition) -> Task:
        found = await rows.lock(tx, task)
        if found is None:
            raise TaskNotFound
        if_match.check(found.version)
        return found

    async def _plan(self, tx: Transaction, task: Task) -> None:
        if task.waits_for_reminder and task.remind_at is not None:
            await schedule.put(tx, task.id, "reminder", task.remind_at)
        else:
            await schedule.remove(tx, task.id)


def _reminder(chassis: Chassis, task: Task) -> Plan:
    due = "" if task.due_at is None else f"{task.due_at.astimezone(UTC):%d %B %Y, %H:%M} UTC"
    return Plan(
        template=REMINDER,
        user_id=task.assignee_id,
        values={"title": task.title, "due": due},
        transactional=True,
        created_by=f"service:{chassis.settings.service}",
    )
