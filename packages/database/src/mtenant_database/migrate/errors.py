"""What can go wrong with migrations: one class for each thing that a person has to act upon.

```
AppError
├── MigrationFileInvalid   422  a file or a folder is wrong; nothing was run
├── ChecksumMismatch       409  a file was changed after it had been applied
├── OutOfOrder             409  a file is older than what has been applied
├── MigrationMissing       409  what has been applied is no longer among the files
├── RequirementMissing     409  a file wants another component at a version that it has not
├── ContractRefused        409  a tenant is not ready for a contract migration
├── RuleBroken             409  a tenant's file reached beyond what its component owns
├── RepairNeeded           409  a no-transaction file stopped half way
├── Irreversible           409  there is no way down
├── TenantExists           409  the tenant is there already
├── AdoptionRefused        409  another tool's table cannot be taken over as it is
├── UnknownTenant          404  the registry does not know the tenant
├── UnknownVersion         404  no migration has this version
├── DumpRefused            409  a tenant cannot be dumped as it is
├── DumpInvalid            422  a folder is no dump, or it is damaged
├── RestoreRefused         409  a dump does not fit the database
├── NotInstalled           503  the tables of this library are not there
├── SchemaBusy             503  another process migrates the schema; try again
├── MigrationFailed        500  the server refused a statement of a file; it was rolled back
├── DumpFailed             500  pg_dump, a server or a disk failed; nothing is left behind
└── OwnerUnsafe            500  DDL would run as a superuser
```
"""

from __future__ import annotations

from mtenant_errors import (
    Conflict,
    InternalServerError,
    NotFound,
    ServiceUnavailable,
    Unprocessable,
)


class MigrationFileInvalid(Unprocessable):
    """A file or a folder of migrations is wrong; nothing was run."""

    code, message = "MIGRATION_FILE_INVALID", "{where}: {problem}"


class ChecksumMismatch(Conflict):
    """A file was changed after it had been applied."""

    code = "MIGRATION_CHANGED"
    message = (
        "{migration} was changed after it had been applied to {where}: "
        "restore the file, and put the change into a new migration"
    )


class OutOfOrder(Conflict):
    """A file is older than the newest one that has been applied."""

    code = "MIGRATION_OUT_OF_ORDER"
    message = "{migration} is new, but {where} is already at {newest}: give it a higher version"


class MigrationMissing(Conflict):
    """What has been applied is no longer among the files."""

    code = "MIGRATION_MISSING"
    message = "{migration} is in {where} and not among the files: restore the file"


class RequirementMissing(Conflict):
    """A file wants another component at a version that it has not."""

    code = "MIGRATION_REQUIREMENT"
    message = "{migration} requires {requirement}, and {where} does not get there: {hint}"


class ContractRefused(Conflict):
    """A tenant is not yet where a contract migration wants every tenant to be."""

    code = "MIGRATION_CONTRACT_REFUSED"
    message = "{migration} requires {requirement} of every tenant, and not there yet: {tenants}"


class RuleBroken(Conflict):
    """A tenant's file reached beyond what its component owns; it was rolled back."""

    code, message = "MIGRATION_RULE_BROKEN", "{where}: {problem}"


class RepairNeeded(Conflict):
    """A no-transaction file stopped half way."""

    code = "MIGRATION_REPAIR_NEEDED"
    message = (
        "{migration} stopped half way in {where}, after {done} statements: look at the schema, then "
        "say `mtenant-db migrate repair retry`, `applied` or `reverted`"
    )


class Irreversible(Conflict):
    """There is no way down from a migration."""

    code, message = "MIGRATION_IRREVERSIBLE", "{migration} cannot be undone in {where}: {problem}"


class TenantExists(Conflict):
    """The tenant is there already."""

    code, message = "TENANT_EXISTS", "tenant {tenant} is {status} already"


class AdoptionRefused(Conflict):
    """Another tool's table cannot be taken over as it is."""

    code, message = "MIGRATION_ADOPTION_REFUSED", "{table}: {problem}"


class DumpRefused(Conflict):
    """A tenant cannot be dumped as it is; nothing was written."""

    code, message = "DUMP_REFUSED", "{where}: {problem}"


class DumpInvalid(Unprocessable):
    """A folder is no dump of a tenant, or it is damaged; nothing was restored."""

    code, message = "DUMP_INVALID", "{where}: {problem}"


class RestoreRefused(Conflict):
    """A dump does not fit the database; nothing was restored."""

    code, message = "RESTORE_REFUSED", "{where}: {problem}"


class UnknownTenant(NotFound):
    """The registry does not know the tenant, or not in the state that is asked for."""

    code, message = "TENANT_UNKNOWN", "no tenant {tenant} that is {wanted}"


class UnknownVersion(NotFound):
    """No migration of the component has this version."""

    code, message = "MIGRATION_UNKNOWN_VERSION", "{component} has no migration {version}"


class NotInstalled(ServiceUnavailable):
    """The tables of this library are not there, or older than this program."""

    code = "MIGRATIONS_NOT_INSTALLED"
    message = "{where} has not been set up for migrations: run `mtenant-db migrate register`"
    retryable = False


class SchemaBusy(ServiceUnavailable):
    """Another process migrates the schema, or a lock was not to be had in time."""

    code, message = "MIGRATION_SCHEMA_BUSY", "{where} is busy: {problem}"


class MigrationFailed(InternalServerError):
    """The server refused a statement of a file.

    Attributes:
        sqlstate: The server's code, or None when the connection broke.
        lost: Whether the connection broke, or could not be made, at every attempt.
    """

    code, message = "MIGRATION_FAILED", "{where}: {problem}"
    sqlstate: str | None = None
    lost: bool = False


class DumpFailed(InternalServerError):
    """pg_dump, a server or a disk failed; nothing is left behind."""

    code, message = "DUMP_FAILED", "{where}: {problem}"


class OwnerUnsafe(InternalServerError):
    """DDL would run as a superuser, whom neither privileges nor row security bind."""

    code = "MIGRATION_OWNER_UNSAFE"
    message = (
        "DDL would run as the superuser {role}: connect as an ordinary role that owns the schemas, "
        "or name one by --owner or DB_OWNER_ROLE"
    )
