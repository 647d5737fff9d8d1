"""Migrations: plain SQL files, for one schema and for the schemas of a whole fleet of tenants.

Files are read and checked before anything runs; what has been applied stands in a ledger inside each
schema. `Migrator` brings one schema up to date, `Fleet` those of all tenants, `provision` makes a new one.

>>> from mtenant_database.migrate import History, Ledger, Migration, Target, plan
>>> files = History([
...     Migration.of("contact", 1, "people", "create table people (id int)"),
...     Migration.of("contact", 2, "email", "alter table people add email text"),
... ])
>>> for step in plan(files, Ledger(), Target.newest(files), where="tenant acme"):
...     print(step)
contact 1 people (up)
contact 2 email (up)

The same as a command is `mtenant-db`.
"""

from mtenant_database.migrate.adoption import Tool
from mtenant_database.migrate.archive import Manifest, Rows
from mtenant_database.migrate.deployment import deploy, migrate_on_start
from mtenant_database.migrate.drift import Drift, find_drift
from mtenant_database.migrate.dump import dump
from mtenant_database.migrate.errors import (
    AdoptionRefused,
    ChecksumMismatch,
    ContractRefused,
    DumpFailed,
    DumpInvalid,
    DumpRefused,
    Irreversible,
    MigrationFailed,
    MigrationFileInvalid,
    MigrationMissing,
    NotInstalled,
    OutOfOrder,
    OwnerUnsafe,
    RepairNeeded,
    RequirementMissing,
    RestoreRefused,
    RuleBroken,
    SchemaBusy,
    TenantExists,
    UnknownTenant,
    UnknownVersion,
)
from mtenant_database.migrate.fleet import Fleet
from mtenant_database.migrate.folder import Migrations, create_migration, read_migrations
from mtenant_database.migrate.ledger import Entry, Ledger
from mtenant_database.migrate.migration import History, Migration
from mtenant_database.migrate.migrator import Migrator, Status
from mtenant_database.migrate.planner import Step, Target, plan
from mtenant_database.migrate.progress import Progress, progress_on
from mtenant_database.migrate.provisioning import provision
from mtenant_database.migrate.registration import Registration
from mtenant_database.migrate.repair import How
from mtenant_database.migrate.report import Report, Result
from mtenant_database.migrate.restore import Restored, restore
from mtenant_database.migrate.rollout import Rollout
from mtenant_database.migrate.script import Requirement
from mtenant_database.migrate.settings import MigrateSettings
from mtenant_database.migrate.survey import Standing
from mtenant_database.migrate.tenants import Tenant, drop, list_tenants, resume, suspend
from mtenant_database.migrate.work import Done

__all__ = [
    "AdoptionRefused",
    "ChecksumMismatch",
    "ContractRefused",
    "Done",
    "Drift",
    "DumpFailed",
    "DumpInvalid",
    "DumpRefused",
    "Entry",
    "Fleet",
    "History",
    "How",
    "Irreversible",
    "Ledger",
    "Manifest",
    "MigrateSettings",
    "Migration",
    "MigrationFailed",
    "MigrationFileInvalid",
    "MigrationMissing",
    "Migrations",
    "Migrator",
    "NotInstalled",
    "OutOfOrder",
    "OwnerUnsafe",
    "Progress",
    "Registration",
    "RepairNeeded",
    "Report",
    "Requirement",
    "RequirementMissing",
    "RestoreRefused",
    "Restored",
    "Result",
    "Rollout",
    "Rows",
    "RuleBroken",
    "SchemaBusy",
    "Standing",
    "Status",
    "Step",
    "Target",
    "Tenant",
    "TenantExists",
    "Tool",
    "UnknownTenant",
    "UnknownVersion",
    "create_migration",
    "deploy",
    "drop",
    "dump",
    "find_drift",
    "list_tenants",
    "migrate_on_start",
    "plan",
    "progress_on",
    "provision",
    "read_migrations",
    "restore",
    "resume",
    "suspend",
]
