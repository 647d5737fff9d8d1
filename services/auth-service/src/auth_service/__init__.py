"""Accounts, logins and tokens of tenants: the authentication service.

>>> from auth_service import AuthServiceSettings, create
>>> from mtenant_chassis import Settings
>>> from mtenant_database import DatabaseConfig
>>> settings = Settings(service="auth-service", environment="dev", database=DatabaseConfig(name="crm"))
>>> document = create(settings, AuthServiceSettings()).openapi()
>>> sorted(document["paths"]["/api/auth/login"])
['post']
"""

from auth_service.app import create
from auth_service.settings import AuthServiceSettings

__all__ = ["AuthServiceSettings", "create"]
