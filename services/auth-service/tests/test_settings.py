from __future__ import annotations

import json

import pytest

from auth_service import AuthServiceSettings
from auth_service.__main__ import main
from auth_service.domain.throttle import Limits, network_of
from mtenant_config import ConfigError, Secret

GOOD = {
    "DATABASE_URL": "postgresql://127.0.0.1:1/crm",
    "ENVIRONMENT": "production",
    "TENANT_SERVICE_URL": "http://127.0.0.1:1",
    "AUTH_SECRET": "a secret that is long enough, by far",
}


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_the_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])

    assert ended.value.code == 0
    assert "{serve,migrate,openapi,replace-keys}" in capsys.readouterr().out


def test_with_good_settings_the_document_is_printed(
    environ: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["openapi"]) == 0
    assert "/api/auth/login" in json.loads(capsys.readouterr().out)["paths"]


def test_without_a_secret_only_a_laptop_starts(
    environ: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    environ.delenv("AUTH_SECRET")
    for command in ("serve", "replace-keys"):
        assert main([command]) == 2
        assert "AUTH_SECRET: missing" in capsys.readouterr().err
    environ.setenv("ENVIRONMENT", "development")
    assert main(["openapi"]) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AUTH_SECRET", "hunter2"),
        ("AUTH_SIGNING_KEYS", '{"keys": "hunter2"}'),
        ("AUTH_CLIENTS", '{"a": "hunter2"}'),
        ("AUTH_KEY_ROTATION", "1s"),
        ("ARGON2_MEMORY", "1KiB"),
        ("ARGON2_PASSES", "0"),
        ("LOGIN_ACCOUNT_ATTEMPTS", "0"),
        ("APP_URL", "hunter2"),
        ("AUTH_BASE_DOMAIN", "https://crm.example.com/"),
    ],
)
def test_a_setting_that_is_wrong_is_named_and_a_secret_not_repeated(
    environ: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    environ.setenv(name, value)

    assert main(["openapi"]) == 2
    told = capsys.readouterr().err
    assert name in told
    assert "hunter2" not in told or name == "APP_URL"


def test_a_secret_may_be_in_a_file(environ: pytest.MonkeyPatch, tmp_path: object) -> None:
    path = f"{tmp_path}/secret"
    with open(path, "w", encoding="utf-8") as file:
        file.write("a secret that stands in a file of its own")
    environ.delenv("AUTH_SECRET")
    environ.setenv("AUTH_SECRET_FILE", path)

    assert main(["openapi"]) == 0


def test_of_one_secret_follow_keys_of_which_none_tells_another() -> None:
    one = AuthServiceSettings(secret=Secret("a secret that is long enough, by far"))
    two = AuthServiceSettings(secret=Secret("another one that is long enough, too"))
    keys = {s.key_for(purpose) for s in (one, two) for purpose in ("signing keys", "refresh")}

    assert len(keys) == 4
    assert all(len(key) == 32 for key in keys)
    assert "long enough" not in repr(one)
    with pytest.raises(ConfigError, match="AUTH_SECRET"):
        AuthServiceSettings().key_for("signing keys")


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("testclient", "testclient"),
    ],
)
def test_limits_count_what_one_caller_has_of_addresses(address: str, network: str) -> None:
    assert network_of(address) == network
    assert Limits.of(account=3, address=7).account.most == 3
