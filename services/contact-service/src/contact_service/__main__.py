"""`python -m contact_service [serve|migrate|openapi]`."""

from __future__ import annotations

from contact_service.app import MIGRATIONS, PORT, SERVICE, VERSION, create
from mtenant_chassis import main


def run() -> int:
    """Be the command."""
    return main(SERVICE, create, port=PORT, version=VERSION, migrations=MIGRATIONS)


if __name__ == "__main__":
    raise SystemExit(run())
