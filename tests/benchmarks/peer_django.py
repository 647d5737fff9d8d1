"""django-tenants beside us: its `migrate_schemas` on some schemas of the fleet that we migrate.

It runs inside of this process, so the start of an interpreter and of Django is not in its time.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict

_MODELS = """
from django.db import models
from django_tenants.models import DomainMixin, TenantMixin

class Customer(TenantMixin):
    auto_create_schema = False

class Domain(DomainMixin):
    pass
"""
_MIGRATION = """
from django.db import migrations, models

class Migration(migrations.Migration):
    dependencies = [{dependencies}]
    operations = [{operation}]
"""
_MODEL = (
    "migrations.CreateModel('T{number}', [('id', models.BigAutoField(primary_key=True)),"
    " {columns}, ('created_at', models.DateTimeField(auto_now_add=True))])"
)


def _first(tables: int, indexes: int) -> str:
    """Return the operations that make tables of six columns, of which some have an index."""
    made = []
    for number in range(tables):
        own = indexes // tables + (number < indexes % tables)
        columns = [
            f"('c{column}', models.CharField(max_length=100, db_index={column < own}))"
            for column in range(6)
        ]
        made.append(_MODEL.format(number=number, columns=", ".join(columns)))
    return ", ".join(made)


class MigrateSchemas:
    """A project of eleven tables and thirty indexes for each tenant, in one app.

    Args:
        dsn: Of a role that owns the database.
        schemas: The schemas that it migrates; they are there.
        folder: An empty one, for its apps.
    """

    def __init__(self, dsn: str, schemas: Iterable[str], folder: Path) -> None:
        self._migrations = folder / "bench_people" / "migrations"
        for app in ("bench_customers", "bench_people"):
            (folder / app).mkdir()
            (folder / app / "__init__.py").touch()
        (folder / "bench_customers" / "models.py").write_text(_MODELS, encoding="utf-8")
        self._migrations.mkdir()
        (self._migrations / "__init__.py").touch()
        self._newest = 0
        sys.path.insert(0, str(folder))
        self._set_up(dsn)
        self.add_migration()
        customers = importlib.import_module("bench_customers.models").Customer
        self._call("migrate_schemas", "--shared", "--run-syncdb")
        customers.objects.bulk_create(customers(schema_name=schema) for schema in schemas)
        self.migrate()

    def add_migration(self) -> None:
        """Write the next migration: it adds a column, or makes the table."""
        before, self._newest = self._newest, self._newest + 1
        column = (
            f"migrations.AddField('T0', 'added_{self._newest}', models.IntegerField(null=True))"
        )
        text = _MIGRATION.format(
            dependencies=f"('bench_people', '{before:04}')" if before else "",
            operation=column if before else _first(11, 30),
        )
        (self._migrations / f"{self._newest:04}.py").write_text(text, encoding="utf-8")
        importlib.invalidate_caches()

    def migrate(self) -> None:
        """Bring every schema to the newest migration."""
        self._call("migrate_schemas", "--tenant")

    def _set_up(self, dsn: str) -> None:
        parts = conninfo_to_dict(dsn)
        settings: Any = importlib.import_module("django.conf").settings
        settings.configure(
            DATABASES={
                "default": {
                    "ENGINE": "django_tenants.postgresql_backend",
                    "NAME": parts["dbname"],
                    "USER": parts["user"],
                    "HOST": parts["host"],
                    "PORT": parts["port"],
                }
            },
            DATABASE_ROUTERS=("django_tenants.routers.TenantSyncRouter",),
            SHARED_APPS=("django_tenants", "django.contrib.contenttypes", "bench_customers"),
            TENANT_APPS=("bench_people",),
            INSTALLED_APPS=(
                "django_tenants",
                "django.contrib.contenttypes",
                "bench_customers",
                "bench_people",
            ),
            TENANT_MODEL="bench_customers.Customer",
            TENANT_DOMAIN_MODEL="bench_customers.Domain",
            DEFAULT_AUTO_FIELD="django.db.models.AutoField",
            USE_TZ=True,
        )
        importlib.import_module("django").setup()

    def _call(self, *command: str) -> None:
        call: Any = importlib.import_module("django.core.management").call_command
        call(*command, verbosity=0)
