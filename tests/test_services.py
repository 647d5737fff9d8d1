"""What the services promise each other: nobody touches another one's tables, everybody can be deployed alike."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SERVICES = sorted(path.parent for path in ROOT.glob("services/*-service/pyproject.toml"))
CREATED = re.compile(
    r"^\s*create\s+table\s+(?:if\s+not\s+exists\s+)?([a-z_.]+)", re.IGNORECASE | re.MULTILINE
)
USED = re.compile(
    r"\b(?:from|join|into|update|table|references)\s+(?:only\s+)?([a-z_.]+)", re.IGNORECASE
)


def tables_of(service: Path) -> set[str]:
    files = service.glob("src/*/migrations/*/*.sql")
    return {name.lower() for path in files for name in CREATED.findall(path.read_text())}


def used_by(service: Path) -> dict[str, set[Path]]:
    """Return every name that stands where SQL has a table's, in code and migrations."""
    found: dict[str, set[Path]] = {}
    for path in [*service.glob("src/**/*.py"), *service.glob("src/**/*.sql")]:
        for name in USED.findall(path.read_text()):
            found.setdefault(name.lower(), set()).add(path.relative_to(ROOT))
    return found


@pytest.mark.parametrize("service", SERVICES, ids=lambda path: path.name)
def test_a_service_has_tables_and_uses_them(service: Path) -> None:
    tables = tables_of(service)

    assert tables
    assert tables <= used_by(service).keys()


@pytest.mark.parametrize("service", SERVICES, ids=lambda path: path.name)
def test_no_service_names_a_table_of_another(service: Path) -> None:
    own = tables_of(service)
    others = set().union(*(tables_of(other) for other in SERVICES if other != service)) - own
    used = used_by(service)

    assert {name: used[name] for name in others & used.keys()} == {}


@pytest.mark.parametrize("service", SERVICES, ids=lambda path: path.name)
def test_every_migration_can_be_rolled_back(service: Path) -> None:
    for folder in service.glob("src/*/migrations/*"):
        versions = {path.name[:3] for path in folder.glob("*.sql")}
        assert versions
        for version in versions:
            assert (folder / f"{version}_rollback.sql").is_file()
            assert len([*folder.glob(f"{version}_*.sql")]) == 2


@pytest.mark.parametrize("service", SERVICES, ids=lambda path: path.name)
def test_a_service_is_delivered_as_the_others_are(service: Path) -> None:
    assert (service / "CHANGELOG.md").is_file()
    dockerfile = (service / "Dockerfile").read_text()
    assert f"--package {service.name}" in dockerfile
    assert re.search(r"^USER (?!root|0)", dockerfile, re.MULTILINE)
    assert re.search(r"^ENTRYPOINT|^CMD", dockerfile, re.MULTILINE)
