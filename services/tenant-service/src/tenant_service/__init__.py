"""tenant-service: organizations of a multi-tenant platform, and who is invited into them.

>>> from mtenant_chassis import Settings
>>> from mtenant_database import DatabaseConfig
>>> settings = Settings(service="tenant-service", database=DatabaseConfig(name="crm"))
>>> app = make_app(settings, TenantServiceSettings())
>>> "/api/tenants/register" in app.openapi()["paths"]
True
"""

from tenant_service.app import MIGRATIONS, make_app
from tenant_service.settings import TenantServiceSettings

__all__ = [
    "MIGRATIONS",
    "TenantServiceSettings",
    "make_app",
]
