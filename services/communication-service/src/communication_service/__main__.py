"""`python -m communication_service [serve|migrate|openapi]`."""

from __future__ import annotations

from communication_service.app import MIGRATIONS, PORT, SERVICE, VERSION, create
from communication_service.handlers.directory import CALLEES
from mtenant_chassis import main


def run() -> int:
    """Be the command."""
    return main(SERVICE, create, port=PORT, version=VERSION, migrations=MIGRATIONS, calls=CALLEES)


if __name__ == "__main__":
    raise SystemExit(run())
