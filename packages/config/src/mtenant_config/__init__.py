"""Settings in layers, bound to frozen dataclasses, with every problem in one error.

>>> from dataclasses import dataclass
>>> from datetime import timedelta
>>> from typing import Annotated
>>> @dataclass(frozen=True)
... class Settings:
...     database_url: Annotated[str, Env("DATABASE_URL")]
...     port: Annotated[int, Range(1, 65535)] = 8080
...     timeout: timedelta = timedelta(seconds=30)
>>> environ = {"CRM_PORT": "80800", "CRM_TIMEOUT": "5", "DATABASEURL": "postgresql://db/crm"}
>>> try:
...     from_env(Settings, prefix="CRM", environ=environ)
... except ConfigError as error:
...     print(error)
3 problems with the configuration
  database_url: missing, expected a string
      set DATABASE_URL; DATABASEURL is set: did you mean DATABASE_URL?
  port: expected an int from 1 to 65535, got '80800'
      at CRM_PORT
  timeout: expected a duration such as '30s', '5m' or '1h30m', got '5'
      at CRM_TIMEOUT
      did you mean '5s'?
"""

from mtenant_config.abc import ConfigReader
from mtenant_config.config import Config
from mtenant_config.environ import from_env
from mtenant_config.grammar import ByteSize
from mtenant_config.problem import ConfigError, Problem
from mtenant_config.reader import Explanation
from mtenant_config.schema import Env, Range
from mtenant_config.secret import Secret

__all__ = [
    "ByteSize",
    "Config",
    "ConfigError",
    "ConfigReader",
    "Env",
    "Explanation",
    "Problem",
    "Range",
    "Secret",
    "from_env",
]
