"""The scope: the statement that makes the rest of a transaction see one tenant, or nothing.

It is one statement, and everything it sets ends with the transaction. Where the schema is missing
it fails with 3F000, and where the role has no USAGE on it with 42602, because the name of a
setting that cannot exist is chosen then. Either error aborts the flush, so what follows it never runs.
Nothing is remembered on the client's side: a tenant that is suspended or dropped is so in the next flush.

`current_schema()` would look simpler as the check. It tries to create a temporary schema where
there is no other, and on a replica that is an error of its own.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from mtenant_database.tenant_id import check_tenant_id, schema_of

SHARED_SCHEMA: Final = "shared"
_SHARED_PATH: Final = '"shared", "eventing", pg_temp'

_REMEMBERED: Final = 1024  # tenants; every request asks anew

MISSING_SCHEMA: Final = "3F000"
NO_USAGE: Final = "42602"
NO_ROLE: Final = "22023"
NOT_A_MEMBER: Final = "42501"


def scope(
    tenant: str, *, read_only: bool = False, timeout: float = 0.0, role: bool = False
) -> tuple[str, list[str]]:
    """Return the statement that scopes the transaction it runs in, and its parameters.

    It does no I/O and works with any driver that speaks `$1`. Send it as the first statement of a
    transaction, and let no statement run if it fails.

    >>> sql, params = scope("acme")
    >>> params
    ['tenant_acme', '"tenant_acme", pg_temp', 'acme', '0ms']

    Args:
        tenant: A tenant's id.
        read_only: Whether the transaction may write nothing.
        timeout: `statement_timeout` of the transaction in seconds; 0 is none.
        role: Whether to become the role `tenant_<id>` too, which makes another tenant's table an
            error (42501) even if its schema is written before its name.

    Raises:
        InvalidTenantId: The id does not match `[a-z0-9][a-z0-9_]{0,55}`.
    """
    target = Target.of_tenant(tenant)
    return scope_text(read_only=read_only, role=role), target.params(timeout)


class Target(NamedTuple):
    """What a scope points at: a tenant's schema, or the shared ones."""

    tenant: str | None
    schema: str
    path: str

    @classmethod
    def of_tenant(cls, tenant: str) -> Target:
        """Return the target of a tenant."""
        return _of_tenant(check_tenant_id(tenant))  # which also takes what cannot be a key

    @classmethod
    def shared(cls) -> Target:
        """Return the target of the registry's and the eventing schema."""
        return cls(None, SHARED_SCHEMA, _SHARED_PATH)

    def params(self, timeout: float) -> list[str]:
        """Return the parameters of `scope_text`."""
        return [self.schema, self.path, self.tenant or "", milliseconds(timeout)]

    @lru_cache(_REMEMBERED)  # noqa: B019 - what it keeps is a value
    def encoded(self, timeout: float) -> tuple[bytes, ...]:
        """Return the parameters as libpq takes them."""
        return tuple(param.encode() for param in self.params(timeout))


@lru_cache(_REMEMBERED)
def _of_tenant(tenant: str) -> Target:
    schema = schema_of(tenant)
    # An id needs no quoting, and is quoted. pg_temp comes last: unnamed, it is searched first, and a
    # temporary table would be seen in place of the tenant's (manual, 19.11.1, search_path).
    return Target(tenant, schema, f'"{schema}", pg_temp')


@lru_cache
def scope_text(*, read_only: bool, role: bool, extra: bool = False) -> str:
    """Return the statement; with `extra` it also sets `$5` to `$6`.

    The items of a select list without FROM are evaluated from left to right: the role comes
    first, so that the check is the role's.
    """
    items = [
        "set_config(case when has_schema_privilege($1,'usage') then 'search_path'"
        " else 'mtenant.no_usage.' end, $2, true)",
        "set_config('mtenant.tenant_id', $3, true)",
        "set_config('statement_timeout', $4, true)",
    ]
    if role:
        items.insert(0, "set_config('role', $1, true)")
    if extra:
        items.append("set_config($5, $6, true)")
    if read_only:
        items.append("set_config('transaction_read_only', 'on', true)")
    return "select " + ", ".join(items)


def milliseconds(seconds: float) -> str:
    """Return a duration as PostgreSQL reads it; one of less than a millisecond is not "none"."""
    return f"{max(1, round(seconds * 1000)) if seconds > 0 else 0}ms"
