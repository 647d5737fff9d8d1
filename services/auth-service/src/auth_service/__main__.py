"""`python -m auth_service [serve|migrate|openapi|replace-keys]`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from auth_service.app import MIGRATIONS, create
from auth_service.domain.signing_key import Seal
from auth_service.handlers.signing_keys import replace_keys
from auth_service.settings import AuthServiceSettings
from auth_service.tenants import CALLEE
from mtenant_chassis import main as serve
from mtenant_database import Database

VERSION: Final = "0.1.0"
PORT: Final = 8080


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return its exit status: 0, or 2 for settings that are wrong."""
    return serve(
        "auth-service",
        create,
        port=PORT,
        version=VERSION,
        migrations=MIGRATIONS,
        calls=[CALLEE],
        commands={"replace-keys": _replace},
        arguments=arguments,
    )


def _replace() -> int:
    print(f"new signing key: {asyncio.run(_new_key())}")
    return 0


async def _new_key() -> str:
    seal = Seal(AuthServiceSettings.from_environ().key_for("signing keys"))
    async with Database.from_env() as database:
        return await replace_keys(database.shared(), seal)


if __name__ == "__main__":
    raise SystemExit(main())
