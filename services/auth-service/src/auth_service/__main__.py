"""`python -m auth_service [serve|migrate|openapi|replace-keys]`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Final

from auth_service.app import MIGRATIONS, create
from auth_service.domain.signing_key import Seal
from auth_service.handlers.signing_keys import replace_keys
from auth_service.settings import AuthServiceSettings
from auth_service.tenants import CALLEE
from mtenant_chassis import main as serve
from mtenant_config import ConfigError
from mtenant_database import Database

VERSION: Final = "0.1.0"
PORT: Final = 8080


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return its exit status: 0, or 2 for settings that are wrong."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if given == ["replace-keys"]:
            print(f"new signing key: {asyncio.run(_replace())}")
            return 0
        return serve(
            "auth-service",
            create,
            port=PORT,
            version=VERSION,
            migrations=MIGRATIONS,
            calls=[CALLEE],
            arguments=given,
        )
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2


async def _replace() -> str:
    seal = Seal(AuthServiceSettings.from_environ().key_for("signing keys"))
    async with Database.from_env() as database:
        return await replace_keys(database.shared(), seal)


if __name__ == "__main__":
    raise SystemExit(main())
