"""deal-service: deals of a multi-tenant CRM, from the first stage to won or lost.

>>> from mtenant_chassis import Settings
>>> from mtenant_database import DatabaseConfig
>>> settings = Settings(service="deal-service", database=DatabaseConfig(name="crm"))
>>> made = create(settings, DealServiceSettings())
>>> "/api/deals/forecast" in made.openapi()["paths"]
True
"""

from deal_service.app import MIGRATIONS, create
from deal_service.settings import DealServiceSettings

__all__ = [
    "MIGRATIONS",
    "DealServiceSettings",
    "create",
]
