"""The microservice chassis: one call makes a FastAPI app that is ready for customers.

>>> from mtenant_chassis import Router, create_app, requires, Settings, Tenant
>>> from mtenant_database import DatabaseConfig
>>> router = Router(prefix="/api/contacts", tags=["contacts"])
>>> @router.get("/count", dependencies=[requires("contacts:read")])
... async def count(tenant: Tenant) -> int:
...     return await tenant.fetch_value("select count(*) from contacts")
>>> settings = Settings(service="contact-service", database=DatabaseConfig(name="crm"))
>>> create_app(settings, routers=[router]).openapi()["paths"]["/api/contacts/count"]["get"]["x-permission"]
'contacts:read'
"""

from mtenant_chassis.app import App, CurrentChassis, create_app
from mtenant_chassis.audit import Audit, AuditEntry, AuditTrail, audit_router
from mtenant_chassis.auth import (
    AccessToken,
    CurrentPrincipal,
    KeySet,
    Principal,
    StaticKeys,
    authenticated,
    public,
    requires,
    services_only,
)
from mtenant_chassis.body_limit import body_limit
from mtenant_chassis.cache import Cache, Cached, TenantCache
from mtenant_chassis.chassis import Chassis
from mtenant_chassis.client import ServiceClient
from mtenant_chassis.etag import IfMatch, RequiredIfMatch, set_etag, set_static
from mtenant_chassis.events import Events, Outbox
from mtenant_chassis.idempotency import idempotent
from mtenant_chassis.mail import Mail
from mtenant_chassis.openapi import raises
from mtenant_chassis.pages import Page, PageQuery
from mtenant_chassis.parameters import given
from mtenant_chassis.ratelimit import RateLimit, by_address, by_principal, limited
from mtenant_chassis.route import Route, Router
from mtenant_chassis.serve import main, run
from mtenant_chassis.settings import AuthSettings, MailSettings, Settings
from mtenant_chassis.tenancy import Tenant, Tx

__all__ = [
    "AccessToken",
    "App",
    "Audit",
    "AuditEntry",
    "AuditTrail",
    "AuthSettings",
    "Cache",
    "Cached",
    "Chassis",
    "CurrentChassis",
    "CurrentPrincipal",
    "Events",
    "IfMatch",
    "KeySet",
    "Mail",
    "MailSettings",
    "Outbox",
    "Page",
    "PageQuery",
    "Principal",
    "RateLimit",
    "RequiredIfMatch",
    "Route",
    "Router",
    "ServiceClient",
    "Settings",
    "StaticKeys",
    "Tenant",
    "TenantCache",
    "Tx",
    "audit_router",
    "authenticated",
    "body_limit",
    "by_address",
    "by_principal",
    "create_app",
    "given",
    "idempotent",
    "limited",
    "main",
    "public",
    "raises",
    "requires",
    "run",
    "services_only",
    "set_etag",
    "set_static",
]
