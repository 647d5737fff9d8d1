"""The errors of this package, all of them an `AppError`.

```
AppError
├── InternalServerError  500
│   ├── TenantRequired           a tenant was asked for where none is known
│   ├── TransactionOpen          a handle was used in a task that holds a transaction
│   │   └── TenantMismatch       ... and the transaction is another tenant's
│   ├── TransactionAborted       an error inside was caught and not rolled back to a savepoint
│   ├── MultipleRows             one row was asked for, and there are more
│   ├── StatementFault           the statement is wrong: the program's fault
│   ├── PermissionDenied         the role may not do this
│   └── DatabaseFault            PostgreSQL itself failed
├── NotFound  404
│   ├── TenantNotFound
│   └── RowNotFound              one row was asked for, and there is none
├── Forbidden  403
│   └── TenantSuspended
├── BadRequest  400
│   └── InvalidTenantId
├── Conflict  409
│   ├── ConstraintConflict       a unique or exclusion constraint
│   ├── StillReferenced          a row that others point at was deleted
│   ├── ObjectInUse              the state of an object forbids it
│   └── SerializationConflict  r transactions were in each other's way
├── Unprocessable  422
│   ├── InvalidReference         a foreign key points nowhere
│   └── InvalidValue             a value does not fit its column or a check
├── PreconditionFailed  412
│   └── StaleVersion             somebody else changed the row
├── TooManyRequests  429
│   └── TenantThrottled        r the tenant has its share of the connections
├── ServiceUnavailable  503
│   ├── TenantNotReady         r the tenant is being provisioned or migrated
│   ├── DatabaseUnavailable    r no connection, or it was lost and nothing was done
│   ├── PoolExhausted          r no connection became free in time
│   ├── LockTimeout            r a lock was not granted in time
│   ├── ResourcesExhausted       out of disk, memory or a configured limit
│   ├── ReadOnlyDatabase       r a write reached a replica, or a read-only transaction
│   └── CommitUnknown            the connection was lost and the commit may have happened
└── GatewayTimeout  504
    ├── QueryTimeout             the statement ran into its timeout, or was cancelled
    └── TransactionTimeout       the transaction ran into its timeout

r: retryable
```

Each retryable 503 says when to come again (`retry_after`), at least roughly.

No message, and no `internal` text, holds the value of a column. `SQLSTATE`s become these in `sqlstate.py`.
"""

from __future__ import annotations

from mtenant_errors import (
    Conflict,
    Forbidden,
    GatewayTimeout,
    InternalServerError,
    NotFound,
    PreconditionFailed,
    ServiceUnavailable,
    TooManyRequests,
    Unprocessable,
)


class TenantRequired(InternalServerError):
    """A tenant was asked for where none is known. There is no default tenant."""

    code = "TENANT_REQUIRED"


class TransactionOpen(InternalServerError):
    """A handle was used in a task that holds an open transaction, which it would not have joined."""

    code = "TRANSACTION_OPEN"


class TenantMismatch(TransactionOpen):
    """A handle was used in a task that holds an open transaction of another tenant."""

    code = "TENANT_MISMATCH"


class TransactionAborted(InternalServerError):
    """The transaction had failed before it was to be committed, so nothing of it was.

    Somebody caught the error of a statement inside. Use `tx.transaction()` around what may fail.
    """

    code = "TRANSACTION_ABORTED"


class MultipleRows(InternalServerError):
    """A statement gave several rows to a call that returns one: which one would be chance."""

    code = "MULTIPLE_ROWS"


class StatementFault(InternalServerError):
    """The statement is wrong: it does not parse, or names what does not exist."""

    code = "STATEMENT_FAULT"


class PermissionDenied(InternalServerError):
    """The role of this program lacks a privilege; what a user may do is not decided here."""

    code = "DATABASE_PERMISSION_DENIED"


class DatabaseFault(InternalServerError):
    """PostgreSQL failed in a way that neither caller nor statement explains."""

    code = "DATABASE_FAULT"


class TenantNotFound(NotFound):
    """There is no such tenant."""

    code, message = "TENANT_NOT_FOUND", "there is no such tenant"


class RowNotFound(NotFound):
    """One row was asked for, and there is none."""

    code = "ROW_NOT_FOUND"


class StaleVersion(PreconditionFailed):
    """The row was changed by somebody else since it was read; read it again."""

    code, message = "STALE_VERSION", "it was changed by somebody else: read it again"


class TenantSuspended(Forbidden):
    """The tenant is suspended: the role has no USAGE on its schema."""

    code, message = "TENANT_SUSPENDED", "the tenant is suspended"


class ConstraintConflict(Conflict):
    """A unique or exclusion constraint forbids the row; `params["constraint"]` is its name."""

    code, message = "CONSTRAINT_CONFLICT", "an equal or overlapping record exists ({constraint})"


class StillReferenced(Conflict):
    """The row cannot go while others point at it; `params["constraint"]` is the foreign key."""

    code, message = "STILL_REFERENCED", "other records still refer to this one ({constraint})"


class ObjectInUse(Conflict):
    """What the statement needs is in use, or is not in the state that it needs."""

    code, message = "OBJECT_IN_USE", "what this needs is in use"


class SerializationConflict(Conflict):
    """Two transactions were in each other's way (40001, 40P01): the whole transaction may run again."""

    code, message = "SERIALIZATION_CONFLICT", "a concurrent change got in the way: try again"
    retryable = True


class InvalidReference(Unprocessable):
    """A foreign key points at nothing; `params["constraint"]` is its name."""

    code, message = "INVALID_REFERENCE", "a referenced record does not exist ({constraint})"


class InvalidValue(Unprocessable):
    """A value does not fit its column or a check; `params["constraint"]` is what it broke."""

    code, message = "INVALID_VALUE", "a value is missing or not allowed ({constraint})"


class TenantNotReady(ServiceUnavailable):
    """The tenant is being provisioned, or its schema is older than this program needs."""

    code, message = "TENANT_NOT_READY", "the tenant is not ready: try again later"
    retry_after = 5.0


class DatabaseUnavailable(ServiceUnavailable):
    """There is no connection, or it was lost and nothing was done."""

    code = "DATABASE_UNAVAILABLE"
    retry_after = 1.0


class PoolExhausted(ServiceUnavailable):
    """No connection became free in time."""

    code = "POOL_EXHAUSTED"
    retry_after = 1.0


class TenantThrottled(TooManyRequests):
    """The tenant has as many connections as it may have while others wait; others are served."""

    code, message = "TENANT_THROTTLED", "too many requests of this tenant at once: try again later"


class LockTimeout(ServiceUnavailable):
    """A lock was not granted in time; nothing was done."""

    code = "LOCK_TIMEOUT"
    retry_after = 1.0


class ResourcesExhausted(ServiceUnavailable):
    """PostgreSQL is out of disk, memory, or something configured."""

    code = "DATABASE_RESOURCES_EXHAUSTED"
    retryable = False


class ReadOnlyDatabase(ServiceUnavailable):
    """A write reached a replica, or a transaction that may only read."""

    code = "DATABASE_READ_ONLY"


class CommitUnknown(ServiceUnavailable):
    """The connection was lost while a change was being committed, and nobody knows whether it was.

    Never retried. A transaction (`async with handle.transaction()`) finds out by its id where the
    server can be asked; a single `execute` has no known id.
    """

    code = "COMMIT_UNKNOWN"
    message = "it is not known whether the change was saved: look before trying again"
    retryable = False


class QueryTimeout(GatewayTimeout):
    """The statement ran into `statement_timeout`, or somebody cancelled it; it did nothing."""

    code = "QUERY_TIMEOUT"


class TransactionTimeout(GatewayTimeout):
    """The transaction took or idled too long, and the server ended it; it did nothing."""

    code = "TRANSACTION_TIMEOUT"
