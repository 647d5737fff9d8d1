"""Routes of imports."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Query, Response, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from contact_service.domain.csv_file import Delimiter, Encoding
from contact_service.domain.errors import ImportNotFound
from contact_service.domain.imports import (
    AT_ONCE,
    LARGEST_FILE,
    Format,
    Import,
    ImportStatus,
    OnDuplicate,
)
from contact_service.handlers.export import refused_rows
from contact_service.handlers.import_file import ImportFiles, Options
from contact_service.handlers.import_run import ImportRun
from contact_service.queries import imports as rows
from contact_service.settings import ContactServiceSettings
from mtenant_chassis import (
    Audit,
    CurrentChassis,
    CurrentPrincipal,
    Page,
    PageQuery,
    Router,
    Tenant,
    body_limit,
    raises,
    requires,
)

_AT_A_TIME: Final = 2  # files that a process unpacks
_ENVELOPE: Final = 64 * 1024  # of multipart/form-data around the file
_CSV: Final[dict[str, Any]] = {"text/csv": {"schema": {"type": "string"}}}


class ImportView(BaseModel):
    """An import; `processed` of `total` rows are done."""

    id: UUID
    status: ImportStatus
    error: str | None
    filename: str | None
    format: Format
    on_duplicate: OnDuplicate
    dry_run: bool
    ignored_columns: list[str] = Field(description="columns that mean nothing here")
    total: int
    processed: int
    created: int
    updated: int
    skipped: int
    invalid: int
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, one: Import) -> ImportView:
        """Return what may be seen of an import."""
        said = {name: getattr(one, name) for name in cls.model_fields if hasattr(one, name)}
        processed = one.created + one.updated + one.skipped + one.invalid
        return cls(**said, ignored_columns=list(one.ignored), processed=processed)


class ImportError(BaseModel):
    """What is wrong with a cell, or with a row if there is no field."""

    line: int
    field: str | None
    code: str
    message: str
    value: str | None


class ImportErrors(BaseModel):
    """Errors of some rows; `next_line` is what to ask for next, null at the end."""

    items: list[ImportError]
    next_line: int | None


def imports_router(own: ContactServiceSettings) -> Router:
    """Return the routes of imports."""
    router = Router(prefix="/api/contacts", tags=["import and export"])
    gate = asyncio.Semaphore(_AT_A_TIME)

    @router.post(
        "/import",
        dependencies=[requires("contacts:write"), body_limit(LARGEST_FILE + _ENVELOPE)],
        responses={
            **raises(415, 422),
            202: {"model": ImportView, "description": "a job: ask for it by its id"},
        },
    )
    async def take(
        *,
        file: UploadFile,
        tenant: Tenant,
        who: CurrentPrincipal,
        audit: Audit,
        chassis: CurrentChassis,
        response: Response,
        on_duplicate: Annotated[
            OnDuplicate, Query(description="of rows whose contact is there, by id or address")
        ] = "error",
        dry_run: Annotated[bool, Query(description="say what would be done")] = False,
        encoding: Annotated[Encoding | None, Query(description="found out by default")] = None,
        delimiter: Annotated[Delimiter | None, Query(description="found out by default")] = None,
        again: Annotated[
            bool, Query(description="also if the same file was imported with the same options")
        ] = False,
    ) -> ImportView:
        """Import a CSV or XLSX file; the same file with the same options is imported once.

        Up to 1,000 rows are imported before the answer; more are a job (202).
        """
        options = Options(
            on_duplicate=on_duplicate, dry_run=dry_run, encoding=encoding, delimiter=delimiter
        )
        files = ImportFiles(tenant, who, audit, gate)
        found, is_new = await files.take(file.file, file.filename, options, again=again)
        if is_new and found.total <= AT_ONCE:
            found = await ImportRun(chassis, own, tenant).finish(found.id) or found
        if found.status == "running":
            response.status_code = 202
        response.headers["location"] = f"/api/contacts/imports/{found.id}"
        return ImportView.of(found)

    @router.get("/imports", dependencies=[requires("contacts:read")])
    async def list_imports(tenant: Tenant, page: PageQuery) -> Page[ImportView]:
        """List imports, newest first."""
        after = page.after(datetime, UUID, of="imports")
        found = await rows.newest_first(
            tenant, after=(after[0], after[1]) if after else None, limit=page.limit + 1
        )
        views = [ImportView.of(one) for one in found]
        total = await page.total(lambda: rows.count(tenant))
        return page.of(views, key=lambda one: (one.created_at, one.id), total=total)

    @router.get("/imports/{import_id}", dependencies=[requires("contacts:read")])
    async def get(import_id: UUID, tenant: Tenant) -> ImportView:
        """Return how far an import is."""
        return ImportView.of(await _found(tenant, import_id))

    @router.get("/imports/{import_id}/errors", dependencies=[requires("contacts:read")])
    async def errors(
        import_id: UUID,
        tenant: Tenant,
        after_line: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> ImportErrors:
        """Return why rows were refused, in the order of the file; `limit` counts rows."""
        await _found(tenant, import_id)
        found = await rows.errors(tenant, import_id, after=after_line, limit=limit)
        items = [ImportError(line=one.line, **why) for one in found for why in one.errors]
        return ImportErrors(items=items, next_line=found[-1].line if len(found) == limit else None)

    @router.get(
        "/imports/{import_id}/errors.csv",
        dependencies=[requires("contacts:read")],
        response_class=StreamingResponse,
        responses={200: {"description": "the refused rows", "content": _CSV}},
    )
    async def error_file(import_id: UUID, tenant: Tenant) -> StreamingResponse:
        """Return the refused rows as a file with a further column that says why; correct and import it."""
        found = await _found(tenant, import_id)
        return StreamingResponse(
            refused_rows(tenant, found),
            media_type="text/csv; charset=utf-8",
            headers={
                "content-disposition": 'attachment; filename="errors.csv"',
                "cache-control": "no-store",
            },
        )

    return router


async def _found(tenant: Tenant, which: UUID) -> Import:
    found = await rows.get(tenant, which)
    if found is None:
        raise ImportNotFound
    return found
