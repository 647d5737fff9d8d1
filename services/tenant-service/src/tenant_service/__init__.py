"""tenant-service: organizations of a multi-tenant platform, and who is invited into them.

>>> from mtenant_chassis import Settings
>>> from mtenant_database import DatabaseConfig
>>> settings = Settings(service="tenant-service", database=DatabaseConfig(name="crm"))
>>> made = create(settings, TenantServiceSettings())
>>> "/api/tenants/register" in made.openapi()["paths"]
True
"""

from tenant_service.app import MIGRATIONS, create
from tenant_service.settings import TenantServiceSettings

__all__ = [
    "MIGRATIONS",
    "TenantServiceSettings",
    "create",
]
