"""The account that servers run as when the caller is root."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from mtenant_devstack.errors import DevstackError

NAMES = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """An account without privileges.

    Attributes:
        name: its name in the password database.
        uid: its user id.
        gid: its group id.
    """

    name: str
    uid: int
    gid: int

    @property
    def ids(self) -> tuple[int, int]:
        """User id and group id."""
        return self.uid, self.gid

    def reaches(self, path: Path) -> bool:
        """Whether everybody, and so this account, may enter each directory above `path`."""
        return all(above.stat().st_mode & stat.S_IXOTH for above in path.resolve().parents)


def server_account(names: tuple[str, ...] = NAMES) -> Account | None:
    """Return the account to run servers as; None means the caller's own.

    PostgreSQL refuses to run as root (manual section 18.1), so root hands the servers to the first
    of `names` that exists.

    Raises:
        DevstackError: the caller is root and there is no such account.
    """
    if not hasattr(os, "geteuid") or os.geteuid() != 0:  # there is none on Windows
        return None
    import pwd  # noqa: PLC0415 -- there is none on Windows, where this module is imported too

    for name in names:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise DevstackError(
        "PostgreSQL refuses to run as root, and this system has no account"
        f" {' or '.join(names)} to run it as: add one, or start as an ordinary user"
    )
