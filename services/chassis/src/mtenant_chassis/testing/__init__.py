"""For tests of services: a place with real tables, tokens of any kind, a client, a served app.

```python
place = Place.make(postgres_dsn, {"contact": MIGRATIONS})      # once a session
acme = place.tenant()
issuer = Issuer()
app = create_app(place.settings("contact-service"), routers=[...], keys=issuer.keys)
async with running(app) as client:
    answer = await client.get("/api/contacts", headers=issuer.bearer(acme, "member"))
```
"""

from __future__ import annotations

from mtenant_chassis.testing.answer import Seen, seen
from mtenant_chassis.testing.command import Typed, migrate, typed
from mtenant_chassis.testing.events import RecordingEvents, RecordingOutbox
from mtenant_chassis.testing.eventually import eventually
from mtenant_chassis.testing.fuzz import fuzz
from mtenant_chassis.testing.issuer import Issuer
from mtenant_chassis.testing.lists import read_list
from mtenant_chassis.testing.matrix import Matrix
from mtenant_chassis.testing.migrations import shared_tables_that_return, tenant_tables_that_return
from mtenant_chassis.testing.network import Network
from mtenant_chassis.testing.operation import ABSENT, Operation, operations
from mtenant_chassis.testing.package import names_above, public_names
from mtenant_chassis.testing.place import Place
from mtenant_chassis.testing.plans import Explaining, Plan, scans
from mtenant_chassis.testing.process import Process, publishing_keys
from mtenant_chassis.testing.running import running, serving
from mtenant_chassis.testing.statements import tables_named

__all__ = [
    "ABSENT",
    "Explaining",
    "Issuer",
    "Matrix",
    "Network",
    "Operation",
    "Place",
    "Plan",
    "Process",
    "RecordingEvents",
    "RecordingOutbox",
    "Seen",
    "Typed",
    "eventually",
    "fuzz",
    "migrate",
    "names_above",
    "operations",
    "public_names",
    "publishing_keys",
    "read_list",
    "running",
    "scans",
    "seen",
    "serving",
    "shared_tables_that_return",
    "tables_named",
    "tenant_tables_that_return",
    "typed",
]
