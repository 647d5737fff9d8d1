from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mtenant_config import ByteSize, ConfigError, Secret
from mtenant_events import EventsConfig


def test_the_environment_says_all_of_it(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("hunter2\n")
    config = EventsConfig.from_env(
        {
            "NATS_URL": "tls://a.example.com:4222, tls://b.example.com:4223",
            "NATS_USER": "deals",
            "NATS_PASSWORD_FILE": str(secret),
            "NATS_TLS_CA_FILE": "/etc/nats/ca.pem",
            "NATS_TLS_CERT_FILE": "/etc/nats/cert.pem",
            "NATS_TLS_KEY_FILE": "/etc/nats/key.pem",
            "NATS_SOURCE": "/deal-service",
            "NATS_SUBJECT_PREFIX": "shop",
            "NATS_STREAM": "SHOP",
            "NATS_DEAD_LETTER_STREAM": "SHOP_DLQ",
            "NATS_REPLICAS": "3",
            "NATS_MAX_AGE": "48h",
            "NATS_MAX_BYTES": "10GiB",
            "NATS_DEAD_LETTER_MAX_AGE": "240h",
            "NATS_DUPLICATE_WINDOW": "20m",
            "NATS_MAX_PAYLOAD": "2MiB",
            "NATS_CONNECT_TIMEOUT": "3s",
            "NATS_PUBLISH_TIMEOUT": "4s",
            "NATS_DRAIN_TIMEOUT": "6s",
        }
    )

    assert config.servers == ("tls://a.example.com:4222", "tls://b.example.com:4223")
    assert config.password is not None
    assert config.password.reveal() == "hunter2"
    assert config.max_bytes == ByteSize(10 << 30)
    assert config.duplicate_window == timedelta(minutes=20)
    assert (config.replicas, config.prefix, config.stream) == (3, "shop", "SHOP")
    assert config.max_event < config.max_payload


def test_an_empty_environment_is_a_server_on_this_machine() -> None:
    config = EventsConfig.from_env({})

    assert config == EventsConfig()
    assert config.servers == ("nats://localhost:4222",)
    assert config.duplicate_window == timedelta(minutes=10)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("NATS_URL", "http://example.com"),
        ("NATS_URL", "nats://"),
        ("NATS_URL", "nats://h:99999"),
        ("NATS_URL", "nats://a,"),
        ("NATS_URL", "nats://[::1"),
        ("NATS_URL", ""),
        ("NATS_SUBJECT_PREFIX", ""),
        ("NATS_SUBJECT_PREFIX", "crm.>"),
        ("NATS_SUBJECT_PREFIX", "crm."),
        ("NATS_SUBJECT_PREFIX", "$JS"),
        ("NATS_SUBJECT_PREFIX", "a b"),
        ("NATS_STREAM", "CRM.EVENTS"),
        ("NATS_STREAM", "../up"),
        ("NATS_STREAM", "CRM_DLQ"),
        ("NATS_SOURCE", "deal service"),
        ("NATS_SOURCE", ""),
        ("NATS_REPLICAS", "0"),
        ("NATS_REPLICAS", "7"),
        ("NATS_MAX_AGE", "1m"),
        ("NATS_MAX_AGE", "0s"),
        ("NATS_MAX_PAYLOAD", "1KiB"),
        ("NATS_PUBLISH_TIMEOUT", "0s"),
        ("NATS_TLS_CERT_FILE", "cert.pem"),
        ("NATS_USER", "deals"),
        ("NATS_PASSWORD", "hunter2"),
    ],
)
def test_what_does_not_fit_is_refused(variable: str, value: str) -> None:
    with pytest.raises(ConfigError, match="NATS_"):
        EventsConfig.from_env({variable: value})


def test_two_ways_to_log_in_are_one_too_many() -> None:
    environ = {"NATS_TOKEN": "hunter3", "NATS_USER": "deals", "NATS_PASSWORD": "hunter2"}

    with pytest.raises(ConfigError, match="keep one way"):
        EventsConfig.from_env(environ)


@pytest.mark.parametrize(
    "environ",
    [
        {"NATS_URL": "nats://u:hunter2@h:99999"},
        {"NATS_URL": "nats://u:hunter2@h", "NATS_STREAM": "a b"},
        {"NATS_USER": "u", "NATS_PASSWORD": "hunter2", "NATS_TOKEN": "hunter2"},
    ],
)
def test_no_error_and_no_repr_holds_a_password(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as caught:
        EventsConfig.from_env(environ)

    assert "hunter2" not in f"{caught.value!s} {caught.value!r} {caught.value.problems}"
    config = EventsConfig(url=Secret("nats://u:hunter2@h"))
    assert "hunter2" not in repr(config)


@pytest.mark.parametrize("name", ["url", "password", "token"])
def test_a_bare_text_is_no_secret(name: str) -> None:
    given: dict[str, Any] = {name: "hunter2"}

    with pytest.raises(TypeError, match=name):
        EventsConfig(**given)
