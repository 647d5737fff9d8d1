"""Routes of templates."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Path, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from communication_service.domain.template import (
    LONGEST_SOURCE,
    LONGEST_SUBJECT,
    MOST_VARIABLES,
    Source,
    Variable,
)
from communication_service.domain.text import Line
from communication_service.handlers.templates import Templates
from communication_service.queries import template as rows
from communication_service.queries.template import Template
from mtenant_chassis import (
    Audit,
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

Key = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
Body = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_SOURCE)]
Number = Annotated[int, Field(ge=1, le=2**31 - 1)]
Said = Annotated[str, StringConstraints(max_length=10_000)]
Exact = Annotated[int, Field(ge=-(2**53), le=2**53)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Values = dict[Annotated[str, StringConstraints(max_length=63)], Said | bool | Exact | Finite | None]


class Content(BaseModel):
    """What a template is made of."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: Line
    subject: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_SUBJECT)]
    text: Body
    html: Body | None = Field(default=None, description="values are escaped in it")
    variables: Annotated[list[Variable], Field(max_length=MOST_VARIABLES)] = []

    @property
    def source(self) -> Source:
        """What is checked, stored and rendered."""
        return Source(self.subject, self.text, self.html, self.variables)


class NewTemplate(Content):
    """A template; `key` is what programs call it."""

    key: Key


class TemplateView(BaseModel):
    """A version of a template."""

    id: UUID
    key: str
    name: str
    version: int
    subject: str
    text: str
    html: str | None
    variables: list[Variable]
    created_by: str = Field(description="who wrote this version")
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, one: Template) -> TemplateView:
        """Return what may be seen of a version."""
        same = ("id", "key", "name", "version", "subject", "created_by")
        return cls(
            **{name: getattr(one, name) for name in same},
            text=one.body_text,
            html=one.body_html,
            variables=list(one.source.variables),
            created_at=one.created_at,
            updated_at=one.updated_at,
        )


class Sample(BaseModel):
    """What a preview is made with."""

    model_config = ConfigDict(extra="forbid", strict=True)
    values: Annotated[Values, Field(max_length=MOST_VARIABLES)] = {}
    version: Number | None = Field(default=None, description="the newest, if none is named")


class Preview(BaseModel):
    """What a mail would say."""

    subject: str
    text: str
    html: str | None


def templates_router() -> Router:
    """Return the routes of templates."""
    router = Router(prefix="/api/emails/templates", tags=["templates"])
    templates = Templates()

    @router.post(
        "",
        status_code=201,
        dependencies=[requires("templates:write"), idempotent()],
        responses=raises(409),
    )
    async def add(asked: NewTemplate, tx: Tx, audit: Audit, response: Response) -> TemplateView:
        """Add a template, if it does nothing that a template may not."""
        made = await templates.add(tx, audit, key=asked.key, name=asked.name, source=asked.source)
        response.headers["location"] = f"/api/emails/templates/{made.id}"
        set_etag(response, made.version)
        return TemplateView.of(made)

    @router.get("", dependencies=[requires("templates:read")])
    async def list_templates(tenant: Tenant, page: PageQuery) -> Page[TemplateView]:
        """List templates in the order of their keys."""
        after = page.after(Key, of="key")
        found = await rows.by_keys(tenant, after=after[0] if after else None, limit=page.limit + 1)
        total = await page.total(lambda: rows.count(tenant))
        views = [TemplateView.of(one) for one in found]
        return page.of(views, key=lambda one: (one.key,), total=total)

    @router.get("/{template_id}", dependencies=[requires("templates:read")])
    async def get(template_id: UUID, tenant: Tenant, response: Response) -> TemplateView:
        """Return the version that is in use."""
        found = await templates.get(tenant, template_id)
        set_etag(response, found.version)
        return TemplateView.of(found)

    @router.put("/{template_id}", dependencies=[requires("templates:write")])
    async def replace(
        *,
        template_id: UUID,
        asked: Content,
        tx: Tx,
        audit: Audit,
        if_match: IfMatch,
        response: Response,
    ) -> TemplateView:
        """Add a version, which is in use from now on; those before it stay readable."""
        made = await templates.replace(
            tx, audit, template_id, if_match, name=asked.name, source=asked.source
        )
        set_etag(response, made.version)
        return TemplateView.of(made)

    @router.delete("/{template_id}", status_code=204, dependencies=[requires("templates:delete")])
    async def archive(template_id: UUID, tx: Tx, audit: Audit, if_match: IfMatch) -> None:
        """Take a template out of use, with all its versions; mails keep what they said."""
        await templates.archive(tx, audit, template_id, if_match)

    @router.get("/{template_id}/versions", dependencies=[requires("templates:read")])
    async def versions(template_id: UUID, tenant: Tenant, page: PageQuery) -> Page[TemplateView]:
        """List the versions of a template, newest first."""
        after = page.after(Number, of=("version", template_id))
        await templates.get(tenant, template_id)  # 404 where there is none
        found = await rows.versions(
            tenant, template_id, after=after[0] if after else None, limit=page.limit + 1
        )
        total = await page.total(lambda: rows.count_versions(tenant, template_id))
        views = [TemplateView.of(one) for one in found]
        return page.of(views, key=lambda one: (one.version,), total=total)

    @router.get("/{template_id}/versions/{version}", dependencies=[requires("templates:read")])
    async def version(
        template_id: UUID, version: Annotated[Number, Path()], tenant: Tenant
    ) -> TemplateView:
        """Return a version."""
        return TemplateView.of(await templates.version(tenant, template_id, version))

    @router.post("/{template_id}/preview", dependencies=[requires("templates:read")])
    async def preview(template_id: UUID, asked: Sample, tenant: Tenant) -> Preview:
        """Return what a mail would say; none is sent."""
        made = await templates.preview(tenant, template_id, asked.version, asked.values)
        return Preview(subject=made.subject, text=made.text, html=made.html)

    return router
