"""Settings of an event bus: where NATS is, how to log in, what the streams are like."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from mtenant_config import ByteSize, Env, Range, Secret
from mtenant_config import from_env as bind_env

# NATS documentation, subject-based messaging: the recommended characters of a token. No dollar sign:
# what begins with it belongs to the server.
_PREFIX: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_STREAM: Final = re.compile(r"[A-Za-z0-9_-]{1,255}")
_SCHEMES: Final = frozenset({"nats", "tls"})
_SOURCE: Final = re.compile(r"[!-~]{1,512}")
_SECOND: Final = timedelta(seconds=1)

DEAD_LETTER_ROOM: Final = 8 * 1024
"""Bytes of the largest message that are kept for the headers of a dead letter."""


@dataclass(frozen=True)
class EventsConfig:
    """Where NATS is and how it is used; the variable of each setting stands beside it.

    Attributes:
        url: `nats://host:4222`, or several with commas between them: the servers of one cluster.
            `tls://` asks for TLS. It may hold a user and a password, or a token.
        user: instead of one in the URL.
        password: of the user.
        token: instead of a user and a password.
        credentials_file: a file of a JWT and an NKey seed, as `nsc` writes it. It needs the package
            `nkeys`.
        tls_ca_file: the authorities that sign the servers' certificates; by default the system's.
        tls_cert_file: a certificate to show to the server.
        tls_key_file: its key.
        source: the `source` of events that are made here, a URI reference such as `/deal-service`.
        prefix: the first words of all subjects: `crm` makes `crm.evt.>`, `crm.dlq.>`, `crm.replay.>`.
        stream: the stream of events.
        dead_letter_stream: the stream of dead letters.
        replicas: of each stream: 1, or 3 or 5 in a cluster.
        max_age: how long the stream keeps an event.
        max_bytes: how large the stream may become; then it takes no more. None: as large as the disk.
        dead_letter_max_age: how long a dead letter is kept.
        duplicate_window: how long the stream remembers the ids of events.
        max_payload: the largest message, headers and all; 8 KiB of it are kept for the headers of a
            dead letter. The server has a limit of its own, 1 MiB unless it is told otherwise.
        connect_timeout: for one attempt at one server.
        publish_timeout: how long an acknowledgement may take.
        drain_timeout: how long closing may take.

    Raises:
        ValueError: The settings do not fit together; no part of a password is in the message.

    >>> EventsConfig(source="/deal-service", password=Secret("hunter2"), user="deals").servers
    ('nats://localhost:4222',)
    """

    url: Annotated[Secret, Env("NATS_URL")] = Secret("nats://localhost:4222")
    user: Annotated[str | None, Env("NATS_USER")] = None
    password: Annotated[Secret | None, Env("NATS_PASSWORD")] = None
    token: Annotated[Secret | None, Env("NATS_TOKEN")] = None
    credentials_file: Annotated[Path | None, Env("NATS_CREDENTIALS_FILE")] = None
    tls_ca_file: Annotated[Path | None, Env("NATS_TLS_CA_FILE")] = None
    tls_cert_file: Annotated[Path | None, Env("NATS_TLS_CERT_FILE")] = None
    tls_key_file: Annotated[Path | None, Env("NATS_TLS_KEY_FILE")] = None
    source: Annotated[str, Env("NATS_SOURCE")] = "/app"
    prefix: Annotated[str, Env("NATS_SUBJECT_PREFIX")] = "crm"
    stream: Annotated[str, Env("NATS_STREAM")] = "CRM_EVENTS"
    dead_letter_stream: Annotated[str, Env("NATS_DEAD_LETTER_STREAM")] = "CRM_DLQ"
    replicas: Annotated[int, Env("NATS_REPLICAS"), Range(1, 5)] = 1
    max_age: Annotated[timedelta, Env("NATS_MAX_AGE"), Range(_SECOND)] = timedelta(days=7)
    max_bytes: Annotated[ByteSize | None, Env("NATS_MAX_BYTES")] = None
    dead_letter_max_age: Annotated[timedelta, Env("NATS_DEAD_LETTER_MAX_AGE"), Range(_SECOND)] = (
        timedelta(days=30)
    )
    duplicate_window: Annotated[timedelta, Env("NATS_DUPLICATE_WINDOW"), Range(_SECOND)] = (
        timedelta(minutes=10)
    )
    max_payload: Annotated[
        ByteSize, Env("NATS_MAX_PAYLOAD"), Range(2 * DEAD_LETTER_ROOM, 64 << 20)
    ] = ByteSize(1 << 20)
    connect_timeout: Annotated[timedelta, Env("NATS_CONNECT_TIMEOUT"), Range(_SECOND / 10)] = (
        timedelta(seconds=5)
    )
    publish_timeout: Annotated[timedelta, Env("NATS_PUBLISH_TIMEOUT"), Range(_SECOND / 10)] = (
        timedelta(seconds=5)
    )
    drain_timeout: Annotated[timedelta, Env("NATS_DRAIN_TIMEOUT"), Range(_SECOND / 10)] = timedelta(
        seconds=15
    )

    def __post_init__(self) -> None:
        for setting in ("url", "password", "token"):
            if not isinstance(getattr(self, setting), Secret | None):
                # A bare string would show itself in the repr.
                raise TypeError(f"{setting} must be a Secret: Secret('...')")
        problems = [*self._problems_of_login(), *self._problems_of_streams()]
        if problems:
            raise ValueError("; ".join(problems))

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> EventsConfig:
        """Read the settings from environment variables; `X_FILE` names a file that holds `X`.

        Raises:
            ConfigError: With everything that is wrong, and no part of a password.
        """
        return bind_env(cls, environ=environ)

    @property
    def max_event(self) -> int:
        """The largest message of an event: with what is added to it, a dead letter still fits."""
        return int(self.max_payload) - DEAD_LETTER_ROOM

    @property
    def servers(self) -> tuple[str, ...]:
        """The URLs, with what they say of a login: never log them."""
        return tuple(url.strip() for url in self.url.reveal().split(","))

    def _problems_of_login(self) -> list[str]:
        problems = []
        if not all(_is_server(url) for url in self.servers):
            problems.append(
                "NATS_URL must be nats://host:port or tls://host:port, or several with ','"
            )
        ways = {
            "NATS_USER": self.user,
            "NATS_TOKEN": self.token,
            "NATS_CREDENTIALS_FILE": self.credentials_file,
        }
        given = [name for name, value in ways.items() if value is not None]
        if len(given) > 1:
            problems.append(f"{' and '.join(given)} are both set: keep one way")
        if (self.user is None) != (self.password is None):
            problems.append("NATS_USER and NATS_PASSWORD go together")
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            problems.append("NATS_TLS_CERT_FILE and NATS_TLS_KEY_FILE go together")
        return problems

    def _problems_of_streams(self) -> list[str]:
        problems = []
        if _PREFIX.fullmatch(self.prefix) is None:
            problems.append("NATS_SUBJECT_PREFIX must be words of a-z, A-Z, 0-9, _ and - with dots")
        if _SOURCE.fullmatch(self.source) is None:
            problems.append("NATS_SOURCE must be a URI reference such as '/deal-service'")
        for name, stream in (
            ("NATS_STREAM", self.stream),
            ("NATS_DEAD_LETTER_STREAM", self.dead_letter_stream),
        ):
            if _STREAM.fullmatch(stream) is None:
                problems.append(f"{name} must be 1 to 255 of a-z, A-Z, 0-9, _ and -")
        if self.stream == self.dead_letter_stream:
            problems.append("NATS_STREAM and NATS_DEAD_LETTER_STREAM must be two streams")
        if self.duplicate_window > self.max_age:
            problems.append("NATS_DUPLICATE_WINDOW is longer than NATS_MAX_AGE")
        return problems


def _is_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
