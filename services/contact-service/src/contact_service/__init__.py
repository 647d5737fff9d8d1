"""contact-service: contacts and companies of a multi-tenant CRM.

>>> from mtenant_chassis import Settings
>>> from mtenant_database import DatabaseConfig
>>> settings = Settings(service="contact-service", database=DatabaseConfig(name="crm"))
>>> made = create(settings, ContactServiceSettings())
>>> "/api/contacts/import" in made.openapi()["paths"]
True
"""

from contact_service.app import MIGRATIONS, create
from contact_service.settings import ContactServiceSettings

__all__ = [
    "MIGRATIONS",
    "ContactServiceSettings",
    "create",
]
