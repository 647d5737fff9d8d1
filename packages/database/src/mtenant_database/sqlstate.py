"""The table from SQLSTATE to typed error, and the one place where driver errors are translated.

Sources: PostgreSQL manual, appendix A (the codes), and section 13.5 (what may be retried).
"""

from __future__ import annotations

from typing import Final

import psycopg
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from mtenant_database.errors import (
    CommitUnknown,
    ConstraintConflict,
    DatabaseFault,
    DatabaseUnavailable,
    InvalidReference,
    InvalidValue,
    LockTimeout,
    ObjectInUse,
    PermissionDenied,
    PoolExhausted,
    QueryTimeout,
    ReadOnlyDatabase,
    ResourcesExhausted,
    SerializationConflict,
    StatementFault,
    StillReferenced,
    TransactionAborted,
    TransactionTimeout,
)
from mtenant_errors import AppError

# A row of two letters is a class and counts for what has no row of five.
TABLE: Final[dict[str, type[AppError]]] = {
    "08": DatabaseUnavailable,
    "08007": CommitUnknown,  # transaction resolution unknown
    "08P01": DatabaseFault,  # protocol violation
    "0A": StatementFault,  # feature not supported
    "20": StatementFault,  # case not found
    "21": StatementFault,  # cardinality violation
    "22": InvalidValue,
    "22012": StatementFault,  # division by zero: the statement should have looked
    "22023": StatementFault,  # invalid parameter value, such as of a setting
    "23": InvalidValue,  # 23502 not null, 23514 check
    "23503": InvalidReference,
    "23505": ConstraintConflict,
    "23P01": ConstraintConflict,  # exclusion
    "24": StatementFault,  # invalid cursor state
    "25": StatementFault,  # invalid transaction state
    "25006": ReadOnlyDatabase,
    "25P02": TransactionAborted,
    "25P03": TransactionTimeout,  # idle in transaction
    "25P04": TransactionTimeout,
    "26": DatabaseUnavailable,  # a prepared statement of ours is gone with the pooler's server
    "28": PermissionDenied,
    "2B": ObjectInUse,  # dependent objects still exist
    "2D": StatementFault,  # a procedure's COMMIT inside a transaction
    "2F": StatementFault,  # SQL routine
    "34": StatementFault,  # invalid cursor name
    "38": StatementFault,  # external routine
    "39": StatementFault,
    "3B": StatementFault,  # savepoint
    "3D": StatementFault,  # invalid database name
    "3F": StatementFault,  # invalid schema name; in a scope it is the tenant's
    "40": DatabaseFault,
    "40001": SerializationConflict,
    "40002": InvalidValue,  # a constraint was violated at commit
    "40003": CommitUnknown,  # statement completion unknown
    "40P01": SerializationConflict,  # deadlock
    "42": StatementFault,
    "42501": PermissionDenied,
    "44": InvalidValue,  # with check option
    "53": ResourcesExhausted,
    "53300": DatabaseUnavailable,  # too many connections
    "54": StatementFault,  # program limit exceeded
    "55": ObjectInUse,
    "55P03": LockTimeout,
    "57": DatabaseUnavailable,  # 57P01, 57P02, 57P03: the server stops or starts
    "57014": QueryTimeout,
    "57P04": DatabaseUnavailable,  # database dropped
    "57P05": TransactionTimeout,  # idle session
    "58": ResourcesExhausted,
    "P0": StatementFault,  # PL/pgSQL, RAISE without a code of its own
    "XX": DatabaseFault,
}
_NAMES_A_CONSTRAINT: Final = (ConstraintConflict, InvalidReference, InvalidValue, StillReferenced)


def error_class(sqlstate: str) -> type[AppError]:
    """Return the class for a SQLSTATE; for one of no known class `DatabaseFault`.

    >>> error_class("23505").__name__, error_class("23514").__name__
    ('ConstraintConflict', 'InvalidValue')
    """
    return TABLE.get(sqlstate) or TABLE.get(sqlstate[:2], DatabaseFault)


def translate(exc: Exception, *, deletes: bool = False) -> AppError:
    """Return the typed error for an exception of psycopg or its pool, with it as the cause.

    The text of the cause is cut down to what names no value of a row: PostgreSQL puts rows into
    DETAIL, and values of class 22 into the first line. `exc.diag` still has everything for code that asks.

    Args:
        exc: What the driver raised. An `AppError` is returned as it is.
        deletes: Whether the statement deletes rows, which is what tells the two sides of 23503 apart.
    """
    if isinstance(exc, AppError):
        return exc
    if isinstance(exc, psycopg.Error) and exc.sqlstate:
        err = _from_server(exc, exc.sqlstate, deletes)
    else:
        err = _from_client(exc)
    err.__cause__ = exc
    return err


def safe_text(sqlstate: str, diag: psycopg.errors.Diagnostic) -> str:
    """Return what a log may say about a server's error."""
    # Class 22 repeats the value; P0 is whatever the author of a function wrote.
    said = "" if sqlstate[:2] in {"22", "P0"} else f" {diag.message_primary or ''}"
    place = [
        f"{name} {value}"
        for name, value in (
            ("constraint", diag.constraint_name),
            ("table", diag.table_name),
            ("column", diag.column_name),
        )
        if value
    ]
    return f"SQLSTATE {sqlstate}{said}" + (f" ({', '.join(place)})" if place else "")


def _from_server(exc: psycopg.Error, sqlstate: str, deletes: bool) -> AppError:
    told = safe_text(sqlstate, exc.diag)
    exc.args = (told,)
    cls = error_class(sqlstate)
    if cls is InvalidReference and deletes:
        cls = StillReferenced
    if cls in _NAMES_A_CONSTRAINT:
        named = exc.diag.constraint_name or exc.diag.column_name or sqlstate
        return cls(internal=told, constraint=named)
    return cls(internal=told)


def _from_client(exc: Exception) -> AppError:
    if isinstance(exc, PoolTimeout | TooManyRequests):
        return PoolExhausted(internal=str(exc), retry_after=1)
    if isinstance(exc, PoolClosed):
        return DatabaseUnavailable(internal=f"{exc}: the Database is not connected")
    if isinstance(exc, psycopg.OperationalError):
        return DatabaseUnavailable(internal=str(exc))
    if isinstance(exc, psycopg.DataError):
        # Such as a zero byte in a text. The message may repeat the value.
        return InvalidValue(internal=type(exc).__name__, constraint="value")
    if isinstance(exc, psycopg.ProgrammingError | psycopg.InterfaceError):
        return StatementFault(internal=f"{type(exc).__name__}: {exc}")
    return DatabaseFault(internal=f"{type(exc).__name__}: {exc}")
