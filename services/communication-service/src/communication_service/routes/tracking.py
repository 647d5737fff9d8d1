"""Routes that the readers of mails follow. Whoever calls is nobody: only the link's token counts."""

from __future__ import annotations

from base64 import b64decode
from typing import Annotated, Final

from fastapi import Query, Request, Response

from communication_service.handlers.tracking import Tracking, Visit
from communication_service.settings import CommunicationServiceSettings
from mtenant_chassis import CurrentChassis, Router, public, raises

# One transparent pixel.
GIF: Final = b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")

_PRIVATE: Final = {
    "cache-control": "no-store, private",
    "referrer-policy": "no-referrer",  # the token stands in the URL
}
_PAGE: Final = {
    **_PRIVATE,
    "content-security-policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
    "content-type": "text/html; charset=utf-8",
}
_ASK: Final = (
    '<!doctype html><meta charset="utf-8"><title>Unsubscribe</title>'
    "<p>Do you want no more mails like this?</p>"
    '<form method="post"><button>No more mails</button></form>'
)
_DONE: Final = (
    '<!doctype html><meta charset="utf-8"><title>Unsubscribed</title>'
    "<p>You will get no more mails like this.</p>"
)

TokenQuery = Annotated[str, Query(max_length=2048, description="the token of the link")]


def tracking_router(own: CommunicationServiceSettings) -> Router:
    """Return the routes of the links in mails."""
    router = Router(prefix="/t", tags=["tracking"])

    @router.head("/o.gif", dependencies=[public()], include_in_schema=False)
    @router.get(
        "/o.gif",
        dependencies=[public()],
        response_class=Response,
        responses={200: {"content": {"image/gif": {}}}},
    )
    async def opened(request: Request, chassis: CurrentChassis, t: str = "") -> Response:
        """Return the picture of a mail, always the same, whatever the token is."""
        await Tracking(chassis, own).opened(_visit(request, t))
        return Response(GIF, media_type="image/gif", headers=_PRIVATE)

    @router.head("/c", dependencies=[public()], include_in_schema=False)
    @router.get(
        "/c",
        status_code=302,
        dependencies=[public()],
        response_class=Response,
        responses=raises(404),
    )
    async def clicked(request: Request, chassis: CurrentChassis, t: TokenQuery) -> Response:
        """Lead to where the mail's link leads."""
        url = await Tracking(chassis, own).clicked(_visit(request, t))
        return Response(status_code=302, headers={**_PRIVATE, "location": url})

    @router.get(
        "/u",
        dependencies=[public()],
        response_class=Response,
        responses={200: {"content": {"text/html": {}}}, **raises(404)},
    )
    async def ask(request: Request, chassis: CurrentChassis, t: TokenQuery) -> Response:
        """Ask whether to unsubscribe: a program that follows links must not do it."""
        Tracking(chassis, own).check(_visit(request, t))
        return Response(_ASK, headers=_PAGE)

    @router.post(
        "/u",
        dependencies=[public()],
        response_class=Response,
        responses={200: {"content": {"text/html": {}}}, **raises(404)},
    )
    async def unsubscribe(request: Request, chassis: CurrentChassis, t: TokenQuery) -> Response:
        """Send the reader no more mails (RFC 8058: programs of mail post here, too)."""
        await Tracking(chassis, own).unsubscribed(_visit(request, t))
        return Response(_DONE, headers=_PAGE)

    return router


def _visit(request: Request, token: str) -> Visit:
    return Visit(token, request.method, request.headers)
