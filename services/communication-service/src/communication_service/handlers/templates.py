"""Templates: checked before they are stored, never changed afterwards, but followed by another version."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from uuid import UUID

from communication_service.domain.errors import TemplateNotFound, TemplateTaken, VersionUnknown
from communication_service.domain.identity import new_id
from communication_service.domain.template import Rendered, Source, Value, check, render
from communication_service.queries import template as rows
from communication_service.queries.template import Template
from mtenant_chassis import AuditTrail
from mtenant_chassis.etag import Condition
from mtenant_database import Transaction, Verbs


class Templates:
    """Keeps templates."""

    async def get(self, on: Verbs, template: UUID) -> Template:
        """Return the version that is in use.

        Raises:
            TemplateNotFound: There is none.
        """
        found = await rows.get(on, template)
        if found is None:
            raise TemplateNotFound
        return found

    async def version(self, on: Verbs, template: UUID, number: int) -> Template:
        """Return a version; of an archived template none, whose mails have their texts themselves.

        Raises:
            TemplateNotFound: There is none.
        """
        found = await rows.version(on, template, number)
        if found is None:
            raise TemplateNotFound
        return found

    async def add(
        self, tx: Transaction, audit: AuditTrail, *, key: str, name: str, source: Source
    ) -> Template:
        """Add a template.

        Raises:
            TemplateInvalid: It could do more than a template may.
            TemplateTaken: Another one has the key.
        """
        await asyncio.to_thread(check, source)
        template = new_id()
        if not await rows.add(tx, template, key=key, name=name, source=source, who=audit.actor):
            raise TemplateTaken
        await audit.record(tx, "template.created", "template", template, after={"key": key})
        return await self.get(tx, template)

    async def replace(
        self,
        tx: Transaction,
        audit: AuditTrail,
        template: UUID,
        if_match: Condition,
        *,
        name: str,
        source: Source,
    ) -> Template:
        """Add a version, which is in use from now on.

        Raises:
            TemplateInvalid: It could do more than a template may.
            TemplateNotFound: There is none.
            VersionMismatch: Somebody else has added one.
        """
        await asyncio.to_thread(check, source)
        await self._lock(tx, template, if_match)
        await rows.replace(tx, template, name, source, audit.actor)
        made = await self.get(tx, template)
        about = {"version": made.version, "name": name}
        await audit.record(tx, "template.changed", "template", template, after=about)
        return made

    async def archive(
        self, tx: Transaction, audit: AuditTrail, template: UUID, if_match: Condition
    ) -> None:
        """Take it out of use.

        Raises:
            TemplateNotFound: There is none.
            VersionMismatch: Somebody else has added a version.
        """
        await self._lock(tx, template, if_match)
        await rows.archive(tx, template)
        await audit.record(tx, "template.archived", "template", template)

    async def preview(
        self, on: Verbs, template: UUID, number: int | None, values: Mapping[str, Value]
    ) -> Rendered:
        """Return what a mail of a template that is in use would say; none is sent.

        Raises:
            TemplateNotFound: There is none.
            VersionUnknown: It has no such version.
            ValuesInvalid, RenderingFailed: There is nothing to say.
        """
        found: Template | None = await self.get(on, template)
        if number is not None:
            found = await rows.version(on, template, number)
        if found is None:
            raise VersionUnknown
        return await asyncio.to_thread(render, found.source, values)

    async def _lock(self, tx: Transaction, template: UUID, if_match: Condition) -> None:
        version = await rows.lock(tx, template)
        if version is None:
            raise TemplateNotFound
        if_match.check(version)
