"""`python -m deal_service [serve|migrate|openapi]`."""

from __future__ import annotations

from deal_service.app import CALLS, MIGRATIONS, PORT, SERVICE, VERSION, create
from mtenant_chassis import main


def run() -> int:
    """Be the command."""
    return main(SERVICE, create, port=PORT, version=VERSION, migrations=MIGRATIONS, calls=CALLS)


if __name__ == "__main__":
    raise SystemExit(run())
