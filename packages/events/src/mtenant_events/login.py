"""Who we are to NATS: user, token, certificate."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mtenant_events.config import EventsConfig


def login_of(config: EventsConfig) -> tuple[str | None, str | None, str | None]:
    """Return user, password and token: those of the settings, else those of the first URL that has any."""
    if config.user is not None and config.password is not None:
        return config.user, config.password.reveal(), None
    if config.token is not None:
        return None, None, config.token.reveal()
    for url in config.servers:
        parts = urlsplit(url)
        if parts.username is not None and parts.password is not None:
            return unquote(parts.username), unquote(parts.password), None
        if parts.username is not None:
            return None, None, unquote(parts.username)
    return None, None, None


def without_login(url: str) -> str:
    """Return a URL without what it says of a login, so that a client cannot show it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def readable(setting: str, path: Path | None) -> str | None:
    """Return the path of a file of the settings.

    Raises:
        ValueError: It cannot be read; the text names the setting.
    """
    if path is None:
        return None
    try:
        with path.open("rb"):
            return str(path)
    except OSError as exc:
        raise ValueError(f"{setting}: {path} cannot be read: {exc.strerror}") from exc


def tls_context(config: EventsConfig) -> ssl.SSLContext | None:
    """Return what TLS is made with; None: the system's authorities, and no certificate of our own.

    Raises:
        ValueError: A file cannot be read, or is no certificate or key.
    """
    if config.tls_ca_file is None and config.tls_cert_file is None:
        return None  # the client makes one where it is needed
    ca = readable("NATS_TLS_CA_FILE", config.tls_ca_file)
    cert = readable("NATS_TLS_CERT_FILE", config.tls_cert_file)
    key = readable("NATS_TLS_KEY_FILE", config.tls_key_file)
    try:
        context = ssl.create_default_context(cafile=ca)
        if cert is not None:
            context.load_cert_chain(cert, key)
    except ssl.SSLError as exc:
        raise ValueError(f"NATS_TLS_*_FILE: {exc.reason}") from exc
    return context
