"""Folders of migrations: how files are named, read and begun.

Two formats are known, and a folder may hold either: `001_people.sql` with `001_rollback.sql`, and
`001_people.up.sql` with `001_people.down.sql`. A folder with `shared/` or `tenant/` in it holds
migrations of both kinds; a flat one holds those of tenants.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from mtenant_database.migrate.errors import MigrationFileInvalid
from mtenant_database.migrate.migration import History, Migration
from mtenant_database.migrate.script import Script, check_component

Format = Literal["rollback", "up-down"]

_UP_DOWN: Final = re.compile(r"([0-9]{1,18})_(.+)\.(up|down)\.sql")
_ROLLBACK: Final = re.compile(r"([0-9]{1,18})_(?:(.+)_)?rollback\.sql")
_PLAIN: Final = re.compile(r"([0-9]{1,18})_(.+)\.sql")
_SLUG: Final = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class FileName:
    """What the name of a file says.

    >>> FileName.parse("001_people.sql")
    FileName(version=1, name='people', down=False, format='rollback')
    """

    version: int
    name: str
    down: bool
    format: Format

    @classmethod
    def parse(cls, name: str) -> FileName:
        """Read a name.

        Raises:
            MigrationFileInvalid: It has none of the forms.
        """
        if match := _UP_DOWN.fullmatch(name):
            return cls(int(match[1]), match[2], match[3] == "down", "up-down")
        if match := _ROLLBACK.fullmatch(name):
            return cls(int(match[1]), match[2] or "", True, "rollback")
        if match := _PLAIN.fullmatch(name):
            return cls(int(match[1]), match[2], False, "rollback")
        raise MigrationFileInvalid(
            where=name,
            problem="name it 001_what.sql (with 001_rollback.sql) or 001_what.up.sql (and .down.sql)",
        )


@dataclass(frozen=True)
class Migrations:
    """What a folder holds.

    Attributes:
        shared: For the schema `shared`, once.
        tenant: For the schema of every tenant.
    """

    shared: History
    tenant: History


def read_migrations(folder: str | os.PathLike[str], component: str = "app") -> Migrations:
    """Read a folder of migrations.

    Args:
        folder: With `shared/` and `tenant/` in it, or flat, which is the same as `tenant/` alone.
        component: Whose they are: the name of the service or library.

    Raises:
        MigrationFileInvalid: The folder is not there, both layouts are mixed, a name or a text is
            wrong, a version is there twice or in both formats, or there is a way down without a way up.
    """
    check_component(component)
    root = Path(folder)
    if not root.is_dir():
        raise MigrationFileInvalid(where=str(root), problem="there is no such folder")
    nested = [root / kind for kind in ("shared", "tenant") if (root / kind).is_dir()]
    if not nested:
        return Migrations(History(), _read(root, component))
    if stray := next(iter(sorted(root.glob("*.sql"))), None):
        raise MigrationFileInvalid(
            where=str(stray), problem="it lies beside shared/ and tenant/: move it into one of them"
        )
    shared, tenant = (
        _read(root / kind, component) if root / kind in nested else History()
        for kind in ("shared", "tenant")
    )
    return Migrations(shared, tenant)


def parse(files: Mapping[str, str], component: str) -> History:
    """Return the migrations of files, given by path and text; this reads nothing.

    Raises:
        MigrationFileInvalid: As `read_migrations`.
    """
    ups: dict[int, tuple[FileName, str]] = {}
    downs: dict[int, tuple[FileName, str]] = {}
    for path in sorted(files):
        found = FileName.parse(Path(path).name)
        side = downs if found.down else ups
        if found.version in side:
            raise MigrationFileInvalid(
                where=path, problem=f"version {found.version} is {side[found.version][1]} too"
            )
        side[found.version] = (found, path)
    for version, (found, path) in downs.items():
        _check_pair(ups.get(version), found, path)
    return History(
        Migration(
            component,
            version,
            found.name,
            Script(files[path], path),
            Script(files[downs[version][1]], downs[version][1]) if version in downs else None,
        )
        for version, (found, path) in ups.items()
    )


def _check_pair(up: tuple[FileName, str] | None, down: FileName, path: str) -> None:
    if up is None:
        raise MigrationFileInvalid(
            where=path, problem=f"a way down from version {down.version}, and no way up to it"
        )
    if up[0].format != down.format:
        raise MigrationFileInvalid(where=path, problem=f"{up[1]} is named in the other format")
    if down.name not in ("", up[0].name):
        raise MigrationFileInvalid(where=path, problem=f"its way up is {up[1]}: name them alike")


def _read(folder: Path, component: str) -> History:
    texts: dict[str, str] = {}
    for path in folder.glob("*.sql"):
        try:
            texts[str(path)] = path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as exc:
            raise MigrationFileInvalid(where=str(path), problem=f"it is no UTF-8: {exc}") from None
        except OSError as exc:
            raise MigrationFileInvalid(where=str(path), problem=str(exc.strerror)) from None
    return parse(texts, component)


def create_migration(
    folder: str | os.PathLike[str], description: str, *, now: datetime | None = None
) -> tuple[Path, Path]:
    """Begin a migration in the format of its folder, and return the files for up and down.

    The version is one more than the folder's newest, as wide as that is written; in an empty folder
    `001`. Folders whose versions are times (14 digits) get the time.

    Args:
        folder: A flat folder, or `shared/` or `tenant/` of one; made if it is not there.
        description: Such as `add user preferences`.
        now: The time that the header says.

    Raises:
        MigrationFileInvalid: The description has no letter or digit, or the folder is wrong.
    """
    slug = _SLUG.sub("_", description.lower()).strip("_")[:100]
    if not slug or slug == "rollback" or slug.endswith("_rollback"):
        raise MigrationFileInvalid(
            where=repr(description), problem="say what it does, such as 'add user preferences'"
        )
    root, created = Path(folder), (now or datetime.now(UTC)).astimezone(UTC)
    if any((root / kind).is_dir() for kind in ("shared", "tenant")):
        raise MigrationFileInvalid(
            where=str(root), problem="it has shared/ and tenant/: say which of them"
        )
    root.mkdir(parents=True, exist_ok=True)
    present = sorted(path.name for path in root.glob("*.sql"))
    version = _next_version(present, created)
    up_down = any(FileName.parse(name).format == "up-down" for name in present)
    names = (
        (f"{version}_{slug}.up.sql", f"{version}_{slug}.down.sql")
        if up_down
        else (f"{version}_{slug}.sql", f"{version}_rollback.sql")
    )
    title = " ".join(word.capitalize() for word in slug.split("_"))
    up, down = (root / name for name in names)
    for path, text in (
        (up, _header(f"Migration: {title}", version, description, created)),
        (down, _header(f"Rollback: {title}", version, f"undo: {description}", created)),
    ):
        with path.open("x", encoding="utf-8", newline="\n") as file:  # never over a file
            file.write(text)
    return up, down


def _next_version(names: Iterable[str], now: datetime) -> str:
    digits = [name.partition("_")[0] for name in names]
    if not digits:
        return "001"
    newest = max(digits, key=int)
    if len(newest) == 14:
        return max(now.strftime("%Y%m%d%H%M%S"), str(int(newest) + 1))
    return str(int(newest) + 1).zfill(len(newest))


def _header(title: str, version: str, description: str, created: datetime) -> str:
    said = " ".join(description.split())
    return (
        f"-- {title}\n-- Version: {version}\n-- Description: {said}\n"
        f"-- Created: {created:%Y-%m-%dT%H:%M:%SZ}\n\n"
    )
