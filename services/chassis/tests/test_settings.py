from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from mtenant_chassis import MailSettings, Settings
from mtenant_chassis.mail import DirectoryTransport, SmtpTransport
from mtenant_chassis.mail.transport import transport_of
from mtenant_config import ConfigError
from mtenant_database import DatabaseConfig

NEEDED = {
    "DATABASE_URL": "postgresql://app:hunter2@db.example.com/crm",
    "AUTH_SERVICE_URL": "http://auth.example.com:8080/",
}


def read(**more: str) -> Settings:
    return Settings.from_env("contact-service", port=8082, environ={**NEEDED, **more})


def test_few_variables_are_enough() -> None:
    settings = read()

    assert (settings.host, settings.port) == ("127.0.0.1", 8082)
    assert settings.services == {"auth-service": "http://auth.example.com:8080"}
    assert settings.component == "contact"
    assert settings.max_body == 1024 * 1024
    assert settings.nats_url is settings.redis_url is settings.ops_token is None
    assert not settings.is_development
    assert settings.seconds_of_drain == 5.0
    assert read(ENVIRONMENT="dev").seconds_of_drain == 0.0
    assert read(ENVIRONMENT="dev", DRAIN_DELAY="3s").seconds_of_drain == 3.0


def test_every_variable_is_read() -> None:
    settings = Settings.from_env(
        "contact-service",
        port=8082,
        version="1.2.3",
        calls=("auth-service", "deal-service"),
        environ={
            **NEEDED,
            "DEAL_SERVICE_URL": "http://deals.example.com",
            "HOST": "0.0.0.0",
            "PORT": "0",
            "NATS_URL": "nats://u:hunter2@nats.example.com",
            "REDIS_URL": "redis://:hunter2@redis.example.com",
            "AUTH_ISSUER": "https://auth.example.com",
            "AUTH_AUDIENCE": "crm",
            "AUTH_VALIDATION": "remote",
            "SERVICE_CLIENT_SECRET": "hunter2-hunter2",
            "SMTP_HOST": "smtp.example.com",
            "SMTP_PORT": "25",
            "SMTP_START_TLS": "false",
            "SMTP_USER": "u",
            "SMTP_PASSWORD": "hunter2",
            "MAIL_FROM": "crm@example.com",
            "MAX_BODY": "2MiB",
            "SHUTDOWN_TIMEOUT": "7s",
            "OPS_TOKEN": "hunter2-hunter2",
            "DB_OWNER_ROLE": "owner",
        },
    )

    assert (settings.host, settings.port, settings.version) == ("0.0.0.0", 0, "1.2.3")
    assert settings.services["deal-service"] == "http://deals.example.com"
    assert settings.auth.validation == "remote"
    assert (settings.mail.smtp_port, settings.mail.smtp_start_tls) == (25, False)
    assert settings.max_body == 2 * 1024 * 1024
    assert settings.shutdown_timeout == timedelta(seconds=7)
    assert settings.migrate.owner == "owner"
    assert "hunter2" not in repr(settings)


def test_everything_that_is_wrong_is_told_at_once_without_a_secret() -> None:
    with pytest.raises(ConfigError) as raised:
        Settings.from_env(
            "contact-service",
            port=8082,
            calls=("auth-service", "deal-service"),
            environ={
                "DATABASE_URL": "postgresql://app:hunter2@db.example.com/crm",
                "PORT": "70000",
                "AUTH_VALIDATION": "perhaps",
                "SHUTDOWN_TIMEOUT": "0s",
            },
        )

    told = str(raised.value)
    for name in (
        "AUTH_SERVICE_URL",
        "DEAL_SERVICE_URL",
        "PORT",
        "AUTH_VALIDATION",
        "SHUTDOWN_TIMEOUT",
    ):
        assert name in told
    assert "hunter2" not in told


def test_a_missing_url_alone_is_told_too() -> None:
    with pytest.raises(ConfigError, match="DEAL_SERVICE_URL"):
        Settings.from_env("contact-service", port=1, calls=("deal-service",), environ=NEEDED)


@pytest.mark.parametrize(
    "name", ["", "Contact", "contact_service", "-a", "a-", "a--b", "a/b", "1a"]
)
def test_what_is_no_name_of_a_service_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="contact-service"):
        Settings(service=name, database=DatabaseConfig(name="crm"))


def test_where_mails_go_is_said_by_the_settings(tmp_path: Path) -> None:
    assert transport_of(MailSettings()) is None
    assert isinstance(transport_of(MailSettings(smtp_host="smtp.example.com")), SmtpTransport)
    assert isinstance(transport_of(MailSettings(directory=str(tmp_path))), DirectoryTransport)
