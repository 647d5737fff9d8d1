"""More than one database: replicas that read, and clusters among which tenants are spread.

```python
async with ReadWriteRouter(Database(primary), [Database(replica)]) as router:
    acme = router.tenant("acme")
    await acme.execute("insert into contacts (name) values ('Ada')")       # the primary
    await acme.fetch_all("select name from contacts")          # a replica that has Ada, or the primary
```

A handle of a router sees what was written through this router; what was written elsewhere is seen by
handing the position on:

>>> from mtenant_database.position import parse_position
>>> parse_position("16/B374D848") > parse_position("16/B374D840")
True
"""

from mtenant_database.routing.databases import Databases, TenantMap
from mtenant_database.routing.handle import RoutedHandle, RoutedTenant
from mtenant_database.routing.health import ReplicaStatus, RouterStatus
from mtenant_database.routing.router import ReadWriteRouter

__all__ = [
    "Databases",
    "ReadWriteRouter",
    "ReplicaStatus",
    "RoutedHandle",
    "RoutedTenant",
    "RouterStatus",
    "TenantMap",
]
