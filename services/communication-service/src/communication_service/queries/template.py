"""SQL of templates and their versions."""

# ruff: noqa: S608 - what is put together are constants of this file

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from communication_service.domain.template import Source, Variable
from mtenant_chassis.pages import counted
from mtenant_database import Transaction, Verbs

_COLUMNS: Final = (
    "t.id, t.key, t.name, v.version, v.subject, v.body_text, v.body_html, v.variables, v.created_by,"
    " t.created_at, v.created_at as updated_at"
)
_NEWEST: Final = (
    f"select {_COLUMNS} from email_templates t"
    " join email_template_versions v on v.template_id = t.id and v.version = t.version"
)
_BY_ID: Final = f"{_NEWEST} where t.id = %s and t.archived_at is null"
_BY_KEY: Final = f"{_NEWEST} where t.key = %s and t.archived_at is null"
_VERSION: Final = (
    f"select {_COLUMNS} from email_templates t"
    " join email_template_versions v on v.template_id = t.id where t.id = %s and v.version = %s"
    " and t.archived_at is null"
)
_LIST: Final = (
    f"{_NEWEST} where t.archived_at is null and (%(key)s::text is null or t.key > %(key)s)"
    " order by t.key limit %(limit)s"
)
_COUNT: Final = counted(_LIST)
_VERSIONS: Final = (
    f"select {_COLUMNS} from email_templates t"
    " join email_template_versions v on v.template_id = t.id where t.id = %(template)s"
    " and (%(version)s::integer is null or v.version < %(version)s)"
    " order by v.version desc limit %(limit)s"
)
_COUNT_VERSIONS: Final = counted(_VERSIONS)
_LOCK: Final = (
    "select version from email_templates where id = %s and archived_at is null for update"
)
_ADD: Final = (
    "insert into email_templates (id, key, name) values (%s, %s, %s)"
    " on conflict (key) where archived_at is null do nothing returning id"
)
_NEXT: Final = (
    "update email_templates set name = %s, version = version + 1, updated_at = now()"
    " where id = %s returning version"
)
_ADD_VERSION: Final = (
    "insert into email_template_versions (template_id, version, subject, body_text, body_html,"
    " variables, created_by) values (%s, %s, %s, %s, %s, %s, %s)"
)
_ARCHIVE: Final = "update email_templates set archived_at = now(), updated_at = now() where id = %s"


@dataclass(frozen=True)
class Template:
    """A version of a template.

    Attributes:
        id: The template's id.
        key: What programs call it.
        name: What people call it.
        version: Which version; the newest is in use.
        subject: Of mails.
        body_text: Of mails.
        body_html: Of mails, or None.
        variables: What may differ from mail to mail.
        created_by: Who wrote this version.
        created_at: Since when there is the template.
        updated_at: Since when there is this version.
    """

    id: UUID
    key: str
    name: str
    version: int
    subject: str
    body_text: str
    body_html: str | None
    variables: Sequence[Mapping[str, Any]]
    created_by: str
    created_at: datetime
    updated_at: datetime

    @property
    def source(self) -> Source:
        """What it is made of."""
        variables = [Variable.model_validate(one) for one in self.variables]
        return Source(self.subject, self.body_text, self.body_html, variables)


async def get(on: Verbs, template: UUID) -> Template | None:
    """Return the newest version of a template."""
    return await on.fetch_optional(_BY_ID, [template], row=Template)


async def by_key(on: Verbs, key: str) -> Template | None:
    """Return the newest version of the template that is called so."""
    return await on.fetch_optional(_BY_KEY, [key], row=Template)


async def version(on: Verbs, template: UUID, number: int) -> Template | None:
    """Return a version of a template."""
    return await on.fetch_optional(_VERSION, [template, number], row=Template)


async def by_keys(on: Verbs, *, after: str | None, limit: int) -> Sequence[Template]:
    """Return templates in the order of their keys."""
    return await on.fetch_all(_LIST, {"key": after, "limit": limit}, row=Template)


async def count(on: Verbs) -> int:
    """Return how many templates there are."""
    return int(await on.fetch_value(_COUNT, {"key": None, "limit": None}))


async def versions(
    on: Verbs, template: UUID, *, after: int | None, limit: int
) -> Sequence[Template]:
    """Return the versions of a template, newest first."""
    params = {"template": template, "version": after, "limit": limit}
    return await on.fetch_all(_VERSIONS, params, row=Template)


async def count_versions(on: Verbs, template: UUID) -> int:
    """Return how many versions a template has."""
    params = {"template": template, "version": None, "limit": None}
    return int(await on.fetch_value(_COUNT_VERSIONS, params))


async def lock(tx: Transaction, template: UUID) -> int | None:
    """Return which version is the newest, and let nobody else add one until the transaction ends."""
    found = await tx.fetch_optional(_LOCK, [template])
    return None if found is None else int(found[0])


async def add(
    tx: Transaction, template: UUID, *, key: str, name: str, source: Source, who: str
) -> bool:
    """Add a template with its first version; False if the key is taken."""
    if await tx.fetch_optional(_ADD, [template, key, name]) is None:
        return False
    await _add_version(tx, template, 1, source, who)
    return True


async def replace(tx: Transaction, template: UUID, name: str, source: Source, who: str) -> None:
    """Add a version, which is in use from now on."""
    number = int(await tx.fetch_value(_NEXT, [name, template]))
    await _add_version(tx, template, number, source, who)


async def archive(tx: Transaction, template: UUID) -> None:
    """Take it out of use; mails that were made from it go on saying so."""
    await tx.execute(_ARCHIVE, [template])


async def _add_version(
    tx: Transaction, template: UUID, number: int, source: Source, who: str
) -> None:
    variables = json.dumps([one.model_dump() for one in source.variables])
    said = [source.subject, source.text, source.html, variables, who]
    await tx.execute(_ADD_VERSION, [template, number, *said])
