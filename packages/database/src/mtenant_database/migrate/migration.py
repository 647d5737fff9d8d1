"""A migration: a version of a component, the way up to it, and the way down from it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final

from mtenant_database.migrate.errors import Irreversible, MigrationFileInvalid, UnknownVersion
from mtenant_database.migrate.script import Requirement, Script, check_component

MAX_VERSION: Final = 2**63 - 1  # a bigint; yyyymmddhhmmss fits


def checksum(text: str) -> bytes:
    r"""Return the SHA-256 of a text, the same for every kind of line end.

    >>> checksum("select 1;\r\n") == checksum("select 1;\n")
    True
    """
    normal = text.replace("\r\n", "\n").replace("\r", "\n")
    return hashlib.sha256(normal.encode()).digest()


@dataclass(frozen=True)
class Migration:
    """One version of one component.

    Attributes:
        component: Which service or library it belongs to.
        version: Its number; `001` and `1` are the same.
        name: What it does, as its file says.
        up: The way to it.
        down: The way from it, or None.
    """

    component: str
    version: int
    name: str
    up: Script
    down: Script | None = None

    def __post_init__(self) -> None:
        check_component(self.component)
        if not 0 < self.version <= MAX_VERSION:
            raise MigrationFileInvalid(
                where=self.up.source, problem=f"a version is 1 to {MAX_VERSION}, not {self.version}"
            )
        if any(wanted.component == self.component for wanted in self.requires):
            raise MigrationFileInvalid(
                where=self.up.source,
                problem="it requires its own component, whose versions come in order anyway",
            )
        if self.down is not None and self.up.directives.irreversible:
            raise MigrationFileInvalid(
                where=self.up.source, problem="it is irreversible, and has a way down"
            )

    @classmethod
    def of(
        cls,
        component: str,
        version: int,
        name: str,
        up: str,
        down: str | None = None,
        *,
        checked: bool = False,
    ) -> Migration:
        """Return a migration that is made of texts.

        Args:
            component: Which service or library it belongs to.
            version: Its number.
            name: What it does.
            up: The SQL of the way to it.
            down: The SQL of the way from it, or None.
            checked: Whether the texts have been checked before: they are in the registry.

        Raises:
            MigrationFileInvalid: As `Script`, or the version or the component is none.

        >>> Migration.of("contact", 1, "people", "create table people (id int)")
        Migration(contact 1 people)
        """
        source = f"{component} {version} {name}"
        return cls(
            component,
            version,
            name,
            Script(up, source, checked=checked),
            None if down is None else Script(down, f"{source} (down)", checked=checked),
        )

    @cached_property
    def checksum(self) -> bytes:
        """The SHA-256 of the way up; the way down may be mended later."""
        return checksum(self.up.text)

    @property
    def contract(self) -> bool:
        """Whether it waits for `up --contract`."""
        return self.up.directives.contract

    @property
    def requires(self) -> tuple[Requirement, ...]:
        """What comes before it, of other components."""
        return self.up.directives.requires

    def way_down(self, where: str) -> Script:
        """Return the way down.

        Raises:
            Irreversible: There is none.
        """
        if self.down is not None:
            return self.down
        problem = (
            "its file says so"
            if self.up.directives.irreversible
            else "it has no file for the way down"
        )
        raise Irreversible(migration=str(self), where=where, problem=problem)

    def __str__(self) -> str:
        return f"{self.component} {self.version} {self.name}"

    def __repr__(self) -> str:
        return f"Migration({self})"


class History(tuple[Migration, ...]):
    """The migrations of any number of components, in the order of version, then component.

    Raises:
        MigrationFileInvalid: One version of a component is there twice.
    """

    __slots__ = ()

    def __new__(cls, migrations: Iterable[Migration] = ()) -> History:
        """Sort the migrations."""
        ordered = sorted(migrations, key=lambda one: (one.version, one.component))
        for one, other in pairwise(ordered):
            if (one.version, one.component) == (other.version, other.component):
                raise MigrationFileInvalid(
                    where=other.up.source, problem=f"version {one.version} is {one.up.source} too"
                )
        return super().__new__(cls, ordered)

    @property
    def components(self) -> tuple[str, ...]:
        """The names of the components, sorted."""
        return tuple(sorted({one.component for one in self}))

    def of(self, component: str) -> History:
        """Return those of one component."""
        return History(one for one in self if one.component == component)

    def find(self, component: str, version: int) -> Migration:
        """Return one migration.

        Raises:
            UnknownVersion: There is none.
        """
        for one in self:
            if (one.component, one.version) == (component, version):
                return one
        raise UnknownVersion(component=component, version=version)
