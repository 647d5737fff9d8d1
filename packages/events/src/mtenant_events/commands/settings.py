"""Settings of a command: the environment's, and what its options put in their place."""

from __future__ import annotations

from argparse import Namespace

from mtenant_config import Secret
from mtenant_events.store.settings import OutboxSettings


def settings(options: Namespace) -> OutboxSettings:
    """Return where the outbox is: `--dsn`, or the environment.

    Raises:
        ConfigError: The environment does not say.
    """
    if options.dsn is None:
        return OutboxSettings.from_env()
    return OutboxSettings(Secret(options.dsn))
