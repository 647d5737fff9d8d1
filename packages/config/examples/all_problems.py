"""Everything that is wrong with a configuration, in one error, and no secret in it."""

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from typing import Annotated

from mtenant_config import ByteSize, ConfigError, Env, Range, Secret, from_env

TEN_MIB = ByteSize(10 * 1024 * 1024)


class Plan(Enum):
    """What a tenant has paid for."""

    FREE = "free"
    TEAM = "team"


@dataclass(frozen=True)
class Pool:
    """The connections to the database."""

    minimum: int = 5
    maximum: Annotated[int, Range(1, 1000)] = 20

    def __post_init__(self) -> None:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum is {self.minimum}, above the maximum of {self.maximum}")


@dataclass(frozen=True)
class Settings:
    """What the service needs to know."""

    database_url: Annotated[Secret, Env("DATABASE_URL")]
    signing_key: Secret
    pool: Pool = Pool()
    timeout: timedelta = timedelta(seconds=30)
    upload_limit: ByteSize = TEN_MIB
    plan: Plan = Plan.FREE


environ = {
    "DATABASEURL": "postgresql://crm:secret@db.example.com/crm",
    "CRM_SIGNING_KEY": "correct horse battery staple",
    "CRM_SIGNING_KEY_FILE": "/run/secrets/signing_key",
    "CRM_POOL__MINIMUM": "50",
    "CRM_POOL_MAXIMUM": "100",
    "CRM_TIMEOUT": "30",
    "CRM_UPLOAD_LIMIT": "25M",
    "CRM_PLAN": "teams",
}

try:
    from_env(Settings, prefix="CRM", environ=environ)
except ConfigError as error:
    print(error)
