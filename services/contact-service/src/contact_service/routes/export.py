"""The route of exports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

from fastapi import Query
from fastapi.responses import StreamingResponse

from contact_service.handlers.export import ExportFormat, csv_lines, ndjson, xlsx
from contact_service.queries import custom_fields
from contact_service.routes.filters import ContactFilters
from mtenant_chassis import Audit, Router, Tenant, requires

_TYPES: Final[dict[ExportFormat, str]] = {
    "csv": "text/csv; charset=utf-8",
    "ndjson": "application/x-ndjson",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_CONTENT: Final[dict[str, Any]] = {
    kind.partition(";")[0]: {"schema": {"type": "string"}} for kind in _TYPES.values()
}


def export_router() -> Router:
    """Return the route."""
    router = Router(tags=["import and export"])

    @router.get(
        "/api/contacts/export",
        dependencies=[requires("contacts:read")],
        response_class=StreamingResponse,
        responses={200: {"description": "the contacts", "content": _CONTENT}},
    )
    async def export(
        *,
        tenant: Tenant,
        audit: Audit,
        filters: ContactFilters,
        format: Annotated[ExportFormat, Query()] = "csv",
    ) -> StreamingResponse:
        """Export contacts, those of a list or all, in the order in which they were made.

        CSV and XLSX have the columns of an import. Each contact is there once, as it is when its turn comes.
        """
        asked = await filters.of(tenant, "contact")
        fields = await custom_fields.TABLE.of(tenant, "contact")
        async with tenant.transaction() as tx:
            await audit.record(tx, "contacts.exported", "export", after={"format": format})
        lines: AsyncIterator[bytes]
        if format == "csv":
            lines = csv_lines(tenant, asked, fields)
        elif format == "xlsx":
            lines = xlsx(tenant, asked, fields)
        else:
            lines = ndjson(tenant, asked)
        return StreamingResponse(
            lines,
            media_type=_TYPES[format],
            headers={
                "content-disposition": f'attachment; filename="contacts.{format}"',
                "cache-control": "no-store",
            },
        )

    return router
