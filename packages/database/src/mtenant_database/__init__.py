"""PostgreSQL for many tenants: a tenant never sees another tenant's data.

A program holds handles, and a handle's statements see its tenant's schema and nothing else, at one
round trip each.

```python
async with Database.from_env() as db:
    acme = db.tenant("acme")
    contact = await acme.fetch_one("select id, name from contacts where id = %s", [7], row=Contact)
    async with acme.transaction() as tx:
        await tx.execute("update contacts set name = %s where id = %s", ["Ada", 7])
```

What makes it so is one statement, the first of every transaction:

>>> from mtenant_database import scope
>>> sql, params = scope("acme")
>>> params
['tenant_acme', '"tenant_acme", pg_temp', 'acme', '0ms']

The ASGI middleware is `mtenant_database.asgi.TenantMiddleware`; fakes are in
`mtenant_database.testing`; migrations in `mtenant_database.migrate`.
"""

from mtenant_database.config import DatabaseConfig
from mtenant_database.database import Database
from mtenant_database.errors import (
    CommitUnknown,
    ConstraintConflict,
    DatabaseFault,
    DatabaseUnavailable,
    InvalidReference,
    InvalidValue,
    LockTimeout,
    MultipleRows,
    ObjectInUse,
    PermissionDenied,
    PoolExhausted,
    QueryTimeout,
    ReadOnlyDatabase,
    ResourcesExhausted,
    RowNotFound,
    SerializationConflict,
    StaleVersion,
    StatementFault,
    StillReferenced,
    TenantMismatch,
    TenantNotFound,
    TenantNotReady,
    TenantRequired,
    TenantSuspended,
    TenantThrottled,
    TransactionAborted,
    TransactionOpen,
    TransactionTimeout,
)
from mtenant_database.health import HealthStatus
from mtenant_database.metrics import Metrics
from mtenant_database.pool import Pool
from mtenant_database.scope import scope
from mtenant_database.sqlstate import translate
from mtenant_database.tenant import Handle, Tenant
from mtenant_database.tenant_id import InvalidTenantId
from mtenant_database.transaction import Transaction
from mtenant_database.verbs import ExecuteResult, Verbs

__all__ = [
    "CommitUnknown",
    "ConstraintConflict",
    "Database",
    "DatabaseConfig",
    "DatabaseFault",
    "DatabaseUnavailable",
    "ExecuteResult",
    "Handle",
    "HealthStatus",
    "InvalidReference",
    "InvalidTenantId",
    "InvalidValue",
    "LockTimeout",
    "Metrics",
    "MultipleRows",
    "ObjectInUse",
    "PermissionDenied",
    "Pool",
    "PoolExhausted",
    "QueryTimeout",
    "ReadOnlyDatabase",
    "ResourcesExhausted",
    "RowNotFound",
    "SerializationConflict",
    "StaleVersion",
    "StatementFault",
    "StillReferenced",
    "Tenant",
    "TenantMismatch",
    "TenantNotFound",
    "TenantNotReady",
    "TenantRequired",
    "TenantSuspended",
    "TenantThrottled",
    "Transaction",
    "TransactionAborted",
    "TransactionOpen",
    "TransactionTimeout",
    "Verbs",
    "scope",
    "translate",
]
