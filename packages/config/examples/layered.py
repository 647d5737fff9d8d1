"""Files in layers, the environment above them, and the way to see which value counts."""

import tempfile
from pathlib import Path

from mtenant_config import Config

SETTINGS = """
[default]
log_level = "info"

[default.db]
host = "localhost"
pool_size = 20
connect_timeout = "30s"

[production.db]
host = "db.example.com"
pool_size = 50
"""

with tempfile.TemporaryDirectory() as directory:
    settings = Path(directory, "settings.toml")
    settings.write_text(SETTINGS)
    password = Path(directory, "db_password")
    password.write_text("correct horse battery staple\n")

    config = Config.load(
        "CRM",
        files=[settings],
        optional_files=[Path(directory, "settings.local.toml")],
        environ={
            "ENVIRONMENT": "prod",
            "CRM_DB__POOL_SIZE": "80",
            "CRM_DB__PASSWORD_FILE": str(password),
        },
    )

    print(f"environment  {config.env}")
    print(f"host         {config.get_str('db.host')}")
    print(f"pool size    {config.get_int('db.poolSize')}")
    print(f"timeout      {config.get_duration('db.connect-timeout')}")
    print(f"password     {config.get_secret('db.password')}")
    print()
    print(str(config.explain("db.pool_size")).replace(directory, "."))
    print()
    for line in config.report():
        print(f"{line['key']:<20} {line['value']:<20} {line['origin']}".replace(directory, "."))
