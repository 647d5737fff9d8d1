"""What a person is told that can be set: .env.example, and the words of scripts/demo."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from auth_service.settings import AuthServiceSettings
from communication_service.settings import CommunicationServiceSettings
from contact_service.settings import ContactServiceSettings
from deal_service.settings import DealServiceSettings
from mtenant_chassis.settings import Settings
from mtenant_devstack.service import PROGRAMS
from mtenant_events import EventsConfig
from mtenant_logger import LoggerConfig
from tenant_service.settings import TenantServiceSettings

ROOT = Path(__file__).resolve().parent.parent
LINE = re.compile(r"^#?([A-Z][A-Z0-9_]*)=(.*)$", re.MULTILINE)
# A field of a settings class, or a variable that is asked for by its name.
READ = re.compile(r"""(?:\bEnv\(|\benviron\.get\(|\benviron\[)\s*"([A-Z][A-Z0-9_]*)\"""")
CALLS = re.compile(r"^CALL(?:EE|EES|S): Final = (.*)$", re.MULTILINE)


def example() -> dict[str, str]:
    """Return the lines of .env.example, also those that are commented out."""
    return dict(LINE.findall((ROOT / ".env.example").read_text()))


def read() -> set[str]:
    """Return the name of every variable that the libraries and the services read."""
    names = {"AUTH_SERVICE_URL"}  # which every service calls
    for path in [*ROOT.glob("packages/*/src/**/*.py"), *ROOT.glob("services/*/src/**/*.py")]:
        text = path.read_text()
        names |= set(READ.findall(text))
        for called in CALLS.findall(text):
            names |= {p.variable for p in PROGRAMS if f'"{p.name}"' in called}
    return names


def test_the_example_lists_every_variable_that_is_read_and_no_other() -> None:
    known = read()
    assert {"PUBLIC_URL", "LOG_LEVEL", "NATS_TLS_CA_FILE", "DEAL_SERVICE_URL"} <= known
    told = {name if name in known else name.removesuffix("_FILE") for name in example()}
    assert told == known


def test_every_line_of_the_example_can_be_used_as_it_stands() -> None:
    said = example()
    for name in ("DB_HOST", "DB_PORT", "DB_USER", "DB_NAME", "NATS_CREDENTIALS_FILE", "NATS_USER"):
        del said[name]  # another way to say what other lines say, or one with a secret
    known = read()
    said = {name: value for name, value in said.items() if name in known}  # no file of a secret
    for program in PROGRAMS:
        Settings.from_env(program.name, port=program.port, environ=said)
    AuthServiceSettings.from_environ(said)
    for settings in (
        TenantServiceSettings,
        ContactServiceSettings,
        DealServiceSettings,
        CommunicationServiceSettings,
        EventsConfig,
    ):
        settings.from_env(said)
    assert LoggerConfig.from_env(environ=said).problems == ()


def test_the_demo_says_what_it_starts_and_what_stays() -> None:
    done = subprocess.run(
        [ROOT / "scripts/demo", "--help"], capture_output=True, text=True, check=False, timeout=20
    )
    assert done.returncode == 0
    text = " ".join(done.stdout.split())
    for word in ("PostgreSQL", "NATS", "Valkey", "story", "/docs", "mail", "DATABASE_URL"):
        assert word in text
    for program in PROGRAMS:
        assert program.name in text
