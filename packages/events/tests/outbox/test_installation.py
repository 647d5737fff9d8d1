"""Outbox and inbox where mtenant-database does not make them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from mtenant_events.store.errors import InstallationRefused, OutboxUnavailable
from mtenant_events.store.installation import MIGRATIONS, install, upgrade


def test_install_makes_the_outbox_once(bare_place: Any) -> None:
    first = install(bare_place.owner)
    second = install(bare_place.owner)

    assert [str(step) for step in first] == ["eventing: 001 outbox"]
    assert second == []
    assert bare_place.waiting == 0


def test_install_makes_an_inbox_in_each_schema_that_is_named(bare_place: Any) -> None:
    bare_place.run(
        *(f"create schema {name} authorization {bare_place.role[:-4]}_owner" for name in "ab")
    )

    install(bare_place.owner, inboxes=["a"])
    later = install(bare_place.owner, inboxes=["a", "b"])

    assert [str(step) for step in later] == ["b: 001 inbox"]
    assert bare_place.value("select count(*) from a.event_inbox, b.event_inbox") == 0


def test_an_inbox_in_a_schema_that_is_not_there_is_refused(bare_place: Any) -> None:
    with pytest.raises(InstallationRefused, match="there is no schema tenant_x: make it first"):
        install(bare_place.owner, inboxes=["tenant_x"])


def test_several_installations_at_once_make_it_once(bare_place: Any) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: install(bare_place.owner), range(4)))

    assert sorted(len(steps) for steps in done) == [0, 0, 0, 1]


def test_upgrade_wants_an_installation(bare_place: Any) -> None:
    with pytest.raises(InstallationRefused, match="mtenant-events outbox install"):
        upgrade(bare_place.owner)


def test_upgrade_of_the_newest_changes_nothing(place: Any) -> None:
    place.tenant("acme")

    assert upgrade(place.owner) == []


def test_upgrade_brings_what_was_installed_to_the_newest_version(
    place: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    place.tenant("acme")
    for kind in ("shared", "tenant"):
        (tmp_path / kind).mkdir()
        for path in (MIGRATIONS / kind).iterdir():
            (tmp_path / kind / path.name).write_bytes(path.read_bytes())
    (tmp_path / "tenant" / "002_more.sql").write_text("alter table event_inbox add more int;")
    monkeypatch.setattr("mtenant_events.store.installation.MIGRATIONS", tmp_path)

    assert [str(step) for step in upgrade(place.owner)] == ["tenant_acme: 002 more"]
    assert upgrade(place.owner) == []


def test_a_file_that_fails_leaves_nothing_behind(
    place: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    for kind in ("shared", "tenant"):
        (tmp_path / kind).mkdir()
    (tmp_path / "shared" / "002_half.sql").write_text("create table half (); select 1/0;")
    monkeypatch.setattr("mtenant_events.store.installation.MIGRATIONS", tmp_path)

    with pytest.raises(OutboxUnavailable, match="division by zero"):
        upgrade(place.owner)

    assert place.value("select to_regclass('eventing.half')") is None
    assert place.value("select version from eventing.installed") == 1


def test_an_older_program_refuses_a_newer_installation(place: Any) -> None:
    place.run("update eventing.installed set version = 99")

    with pytest.raises(InstallationRefused, match=r"at version 99.*upgrade mtenant-events"):
        upgrade(place.owner)


def test_a_database_that_does_not_answer_is_said_without_a_password() -> None:
    with pytest.raises(OutboxUnavailable) as caught:
        install("postgresql://x:hunter2@127.0.0.1:1/x")

    assert "hunter2" not in str(caught.value)


def test_a_rollback_refuses_while_events_wait(place: Any) -> None:
    down = (MIGRATIONS / "shared" / "001_rollback.sql").read_text()
    place.run(
        "insert into eventing.outbox (tenant, key, subject, headers, body)"
        " values ('acme', 'k', 's', '{}', '')"
    )

    with pytest.raises(psycopg.errors.RaiseException, match="would be lost"):
        place.run(down)

    place.run("delete from eventing.outbox", "drop table eventing.installed", down)
    assert place.value("select to_regnamespace('eventing')") is None
