"""An ASGI app whose requests name their tenant by the host: acme.example.com."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

from mtenant_database.asgi import Receive, Scope, Send, TenantMiddleware, current_tenant
from mtenant_database.testing import RecordingDatabase

COUNT = "select count(*) from contacts"


def tenant_of(scope: Scope) -> str | None:
    """Return the first label of the host; a real program checks that the user may go there."""
    host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
    name = host.partition(".")[0]
    return name if host.endswith(".example.com") else None


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the tenant and its number of contacts."""
    tenant = current_tenant()  # the same as scope["state"]["tenant"]
    count = await tenant.fetch_value(COUNT)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": f"{tenant.id}: {count}".encode()})


async def main() -> None:
    """Send two requests at once."""
    db = RecordingDatabase()
    db.on(COUNT, rows=[{"count": 3}], tenant="acme")
    db.on(COUNT, rows=[{"count": 5}], tenant="globex")
    served = TenantMiddleware(app, database=db, resolve=tenant_of)

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request"}

    async def send(message: MutableMapping[str, Any]) -> None:
        if "body" in message:
            print(message["body"].decode())

    scopes = [
        {"type": "http", "headers": [(b"host", f"{name}.example.com".encode())]}
        for name in ("acme", "globex")
    ]
    await asyncio.gather(*(served(scope, receive, send) for scope in scopes))


asyncio.run(main())
