"""What a report says, and the rest of what decides a finding."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import mtenant_database.doctor as package
from mtenant_database.doctor import Finding, Report, Skipped, examine
from mtenant_database.doctor.examination import CHECKS
from mtenant_database.doctor.site import Site
from mtenant_database.migrate.__main__ import main

if TYPE_CHECKING:
    from conftest import Patient

CLEAN = Report("crm", "18.4", "app", 9, False, (), ("temp",), (), (), 0.04)


def test_the_package_says_what_is_public() -> None:
    assert package.__all__ == sorted(package.__all__)
    assert all(getattr(package, name).__doc__ for name in package.__all__ if name != "Severity")


def test_thousands_of_findings_are_few_lines_of_text_and_all_in_the_json() -> None:
    many = tuple(
        Finding("types", "low", f"enum tenant_{n}.mood", "what", "DROP TYPE x;")
        for n in range(4000)
    )
    report = replace(CLEAN, findings=many)
    text = report.to_text()
    assert text.count("enum tenant_") == 5
    assert "types: 3995 more like these, which --json lists" in text
    assert text.splitlines()[-1] == "4000 findings (4000 low); 1 checks clean; 0.0 s"
    assert len(json.loads(report.to_json())["findings"]) == 4000


def test_what_was_not_seen_is_neither_health_nor_a_finding() -> None:
    report = replace(CLEAN, unseen=(Skipped("drift", "no right", "GRANT x;"),))
    assert (CLEAN.exit_code, report.exit_code) == (0, 1)
    assert "COULD NOT LOOK:\n  drift: no right\n    cure: GRANT x;" in report.to_text()
    found = replace(report, findings=(Finding("temp", "medium", "w", "w", "REVOKE x;"),))
    assert found.exit_code == 3


def test_who_looks_as_a_superuser_is_told_so(new_patient: Callable[[], Patient]) -> None:
    (found,) = asyncio.run(examine(new_patient().admin)).findings
    assert (found.check, found.where, found.is_sql) == ("superuser", "role postgres", False)
    assert "this connection" in found.what


@pytest.mark.parametrize(
    ("said", "where", "cure"),
    [
        ("role %_app in database %", "role %_app", 'ROLE "%_app" IN DATABASE "%"'),
        ("database %", "database %", 'DATABASE "%"'),
        ("role all", "all roles", "ROLE ALL"),
    ],
)
def test_each_place_of_a_path_has_a_cure_of_its_own(
    new_patient: Callable[[], Patient], said: str, where: str, cure: str
) -> None:
    patient = new_patient()
    patient.install("acme")
    patient.run(f"alter {said} set search_path = tenant_acme, public")
    try:
        (found,) = patient.examine().findings
        assert (found.severity, found.where) == ("high", where.replace("%", patient.name))
        wanted = f"ALTER {cure} SET search_path = pg_catalog, pg_temp;"
        assert found.cure == wanted.replace("%", patient.name)
        patient.run(found.cure)
        assert patient.examine().findings == ()
    finally:
        patient.run(f"alter {said} reset search_path")


def test_a_schema_that_has_a_roles_name_is_on_the_default_path(
    new_patient: Callable[[], Patient],
) -> None:
    patient = new_patient()
    patient.run("create schema %_app; create table %_app.notes (id int)")
    (found,) = patient.examine().findings
    assert found.where == f"database {patient.name}"
    assert f"finds {patient.name}_app.notes" in found.what


def test_a_path_to_what_the_role_may_not_use_finds_nothing(
    new_patient: Callable[[], Patient],
) -> None:
    patient = new_patient()
    patient.install("acme")
    patient.run("create role %_other login; alter role %_other set search_path = tenant_acme")
    assert patient.examine().findings == ()


def test_a_check_that_takes_too_long_is_not_taken_for_health(
    new_patient: Callable[[], Patient], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(site: Site) -> list[Finding]:
        await site.rows("select set_config('statement_timeout', '1ms', true)")
        await site.rows("select pg_sleep(60)")
        return []

    patient = new_patient()
    monkeypatch.setitem(CHECKS, "temp", slow)
    report = patient.examine()
    assert [(one.check, one.cure) for one in report.unseen] == [
        ("temp", "look again when fewer people are at work")
    ]
    assert "57014" in report.unseen[0].why
    assert len(report.clean) + len(report.not_applicable) == len(CHECKS) - 1


def test_help_names_the_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["doctor", "--help"])
    said = capsys.readouterr().out
    assert all(f"\n  {status}  " in said for status in (0, 1, 2, 3))
