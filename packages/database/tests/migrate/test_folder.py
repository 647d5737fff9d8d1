from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtenant_database.migrate import (
    History,
    Migration,
    MigrationFileInvalid,
    UnknownVersion,
    create_migration,
    read_migrations,
)
from mtenant_database.migrate.folder import FileName, parse
from mtenant_database.migrate.migration import checksum

NOW = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        folder.joinpath(f"{name.lstrip('v').replace('__', '.')}.sql").write_text(text)
    return folder


def test_both_formats_are_read(tmp_path: Path) -> None:
    old = write(
        tmp_path / "a", v001_people="select 1", v001_rollback="select 2", v010_mail="select 3"
    )
    new = write(
        tmp_path / "b",
        v1_people__up="select 1",
        v1_people__down="select 2",
        v10_mail__up="select 3",
    )
    for folder in (old, new):
        first, second = read_migrations(folder, "contact").tenant
        assert (first.version, first.name, second.version) == (1, "people", 10)
        assert first.down is not None
        assert first.down.text == "select 2"
        assert second.down is None


def test_a_flat_folder_is_the_tenants(tmp_path: Path) -> None:
    found = read_migrations(write(tmp_path, v1_a="select 1"), "contact")
    assert (len(found.shared), len(found.tenant)) == (0, 1)


def test_shared_and_tenant_are_folders_of_their_own(tmp_path: Path) -> None:
    write(tmp_path / "shared", v1_a="select 1")
    write(tmp_path / "tenant", v1_b="select 1", v2_c="select 1")
    found = read_migrations(tmp_path, "contact")
    assert ([one.name for one in found.shared], [one.name for one in found.tenant]) == (
        ["a"],
        ["b", "c"],
    )
    write(tmp_path, v3_stray="select 1")
    with pytest.raises(MigrationFileInvalid, match="beside shared/ and tenant/"):
        read_migrations(tmp_path, "contact")


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (["001_a.sql", "1_b.sql"], "version 1 is 001_a.sql too"),
        (["001_a.sql", "001_a.up.sql"], "version 1 is 001_a.sql too"),
        (["001_a.sql", "001_a.down.sql"], "is named in the other format"),
        (["001_a.up.sql", "001_rollback.sql"], "is named in the other format"),
        (["001_rollback.sql"], "no way up to it"),
        (["001_a.down.sql"], "no way up to it"),
        (["001_a.up.sql", "001_b.down.sql"], "name them alike"),
        (["001_a.sql", "001_rollback.sql", "01_a_rollback.sql"], "too"),
        (["people.sql"], "name it 001_what.sql"),
        (["001.sql"], "name it 001_what.sql"),
        (["001_.sql"], "name it 001_what.sql"),
        (["-1_a.sql"], "name it 001_what.sql"),
        (["000_a.sql"], "a version is 1 to"),
    ],
)  # fmt: skip
def test_a_wrong_name_is_an_error(files: list[str], problem: str) -> None:
    with pytest.raises(MigrationFileInvalid) as info:
        parse(dict.fromkeys(files, "select 1"), "contact")
    assert problem in info.value.message


def test_a_rollback_may_repeat_the_name() -> None:
    (one,) = parse({"m/001_people.sql": "select 1", "m/001_people_rollback.sql": "select 2"}, "a")
    assert (one.name, one.down is not None) == ("people", True)


@given(st.text(alphabet=st.characters(exclude_characters="/")))
def test_any_name_is_read_or_refused(name: str) -> None:
    try:
        found = FileName.parse(name)
    except MigrationFileInvalid:
        return
    assert name.endswith(".sql")
    assert int(name.partition("_")[0]) == found.version


def test_bytes_that_are_no_utf8_and_folders_that_are_not_there_are_errors(tmp_path: Path) -> None:
    (tmp_path / "001_a.sql").write_bytes(b"select '\xff'")
    with pytest.raises(MigrationFileInvalid, match=r"001_a\.sql: it is no UTF-8"):
        read_migrations(tmp_path, "contact")
    with pytest.raises(MigrationFileInvalid, match="there is no such folder"):
        read_migrations(tmp_path / "nowhere", "contact")
    with pytest.raises(MigrationFileInvalid, match="a name is a letter"):
        read_migrations(tmp_path, "Contact Service")


def test_a_byte_order_mark_and_line_ends_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "001_a.sql").write_bytes(b"\xef\xbb\xbfselect 1;\r\nselect 2;\r\n")
    (one,) = read_migrations(tmp_path, "contact").tenant
    assert one.checksum == checksum("select 1;\nselect 2;\n")
    assert one.up.text == "select 1;\nselect 2;\n"


def test_the_way_down_is_not_in_the_checksum() -> None:
    one = Migration.of("a", 1, "x", "select 1", "select 2")
    assert one.checksum == Migration.of("a", 1, "x", "select 1", "select 3").checksum
    assert one.checksum != Migration.of("a", 1, "x", "select 2").checksum


def test_an_irreversible_file_has_no_way_down() -> None:
    with pytest.raises(MigrationFileInvalid, match="irreversible"):
        Migration.of("a", 1, "x", "-- migrate: irreversible\nselect 1", "select 2")


def test_a_file_cannot_require_its_own_component() -> None:
    with pytest.raises(MigrationFileInvalid, match="its own component"):
        Migration.of("a", 2, "x", "-- migrate: requires a>=1\nselect 1")


def test_a_history_is_sorted_and_has_each_version_once() -> None:
    one, two = Migration.of("a", 1, "x", "select 1"), Migration.of("a", 2, "y", "select 1")
    assert [*History([two, one])] == [one, two]
    assert History([two, one]).find("a", 2) is two
    with pytest.raises(MigrationFileInvalid, match="version 1 is"):
        History([one, one])
    with pytest.raises(UnknownVersion, match="a has no migration 3"):
        History([one]).find("a", 3)


def test_create_begins_an_empty_folder_at_001(tmp_path: Path) -> None:
    up, down = create_migration(tmp_path / "new", "Add user-preferences table!", now=NOW)
    assert (up.name, down.name) == ("001_add_user_preferences_table.sql", "001_rollback.sql")
    assert up.read_text() == (
        "-- Migration: Add User Preferences Table\n-- Version: 001\n"
        "-- Description: Add user-preferences table!\n-- Created: 2024-01-02T03:04:05Z\n\n"
    )


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        ("009_a.sql", ["010_x.sql", "010_rollback.sql"]),
        ("9_a.up.sql", ["10_x.up.sql", "10_x.down.sql"]),
        ("20230101000000_a.up.sql", ["20240102030405_x.up.sql", "20240102030405_x.down.sql"]),
        ("20250101000000_a.sql", ["20250101000001_x.sql", "20250101000001_rollback.sql"]),
    ],
)
def test_create_follows_the_format_of_its_folder(
    tmp_path: Path, present: str, expected: list[str]
) -> None:
    (tmp_path / present).write_text("select 1")
    assert [path.name for path in create_migration(tmp_path, "x", now=NOW)] == expected
    for name in expected:  # a header alone is no migration yet
        (tmp_path / name).write_text("select 1")
    assert len(read_migrations(tmp_path, "contact").tenant) == 2


@pytest.mark.parametrize("description", ["", "!?", "rollback", "undo rollback"])
def test_create_wants_a_description(tmp_path: Path, description: str) -> None:
    with pytest.raises(MigrationFileInvalid, match="say what it does"):
        create_migration(tmp_path, description)


def test_a_line_break_in_a_description_stays_in_the_comment(tmp_path: Path) -> None:
    up, _ = create_migration(tmp_path, "x\ndrop table people", now=NOW)
    assert all(line.startswith("--") for line in up.read_text().splitlines() if line)


def test_create_in_a_folder_of_both_kinds_wants_to_know_which(tmp_path: Path) -> None:
    write(tmp_path / "tenant", v1_a="select 1")
    with pytest.raises(MigrationFileInvalid, match="say which"):
        create_migration(tmp_path, "x")
