"""communication-service: activities, tasks, templates and tracked mail of a multi-tenant CRM.

>>> from mtenant_chassis import Settings
>>> from mtenant_database import DatabaseConfig
>>> settings = Settings(service="communication-service", database=DatabaseConfig(name="crm"))
>>> made = create(settings, CommunicationServiceSettings())
>>> "/api/emails/send" in made.openapi()["paths"]
True
"""

from communication_service.app import MIGRATIONS, create
from communication_service.settings import CommunicationServiceSettings

__all__ = [
    "MIGRATIONS",
    "CommunicationServiceSettings",
    "create",
]
