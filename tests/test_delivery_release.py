"""scripts/release, in a clone that is thrown away."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CHANGELOG = "packages/errors/CHANGELOG.md"
TAG = "mtenant-errors-v0.1.0"
CLOSED = "# Changelog\n\n## [Unreleased]\n\n## [0.1.0] - 2026-01-31\n\n### Added\n\n- All of it.\n"
# The member's own tests run elsewhere; here it matters that they are asked, and what for.
TESTS = '#!/bin/sh\necho "$@" >>.cache/asked\nexit "${TESTS_STATUS:-0}"\n'


@dataclass(frozen=True)
class Clone:
    """A clone whose branch main has a closed changelog."""

    path: Path

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=The mtenant authors", "-c", "user.email=authors@example.com"]
        return subprocess.run(
            ["git", *identity, *arguments],
            cwd=self.path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def commit(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)
        self.git("commit", "--quiet", "--message", f"change {name}", "--", name)

    def release(self, *arguments: str, tests: int = 0) -> subprocess.CompletedProcess[str]:
        identity = {
            f"GIT_{who}_{what}": value
            for who in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", "The mtenant authors"), ("EMAIL", "authors@example.com"))
        }
        return subprocess.run(
            ["./scripts/release", *arguments],
            cwd=self.path,
            env={**os.environ, **identity, "TESTS_STATUS": str(tests)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def tags(self) -> list[str]:
        return self.git("tag", "--list").split()

    def asked(self) -> list[str]:
        asked = self.path / ".cache" / "asked"
        return asked.read_text().splitlines() if asked.exists() else []


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One clone for all tests, which copy it: its lock is completed once."""
    path = tmp_path_factory.mktemp("release") / "original"
    subprocess.run(["git", "clone", "--quiet", "--no-tags", ROOT, path], check=True)
    clone = Clone(path)
    clone.git("checkout", "--quiet", "-B", "main")
    clone.git("remote", "remove", "origin")
    (path / ".cache").mkdir(exist_ok=True)
    if (private := ROOT / ".cache" / "uv").exists():
        (path / ".cache" / "uv").symlink_to(private)
    # As it stands here, which may not be committed yet.
    (path / "scripts" / "release").write_bytes((ROOT / "scripts" / "release").read_bytes())
    (path / "scripts" / "release").chmod(0o755)
    (path / "scripts" / "test").write_text(TESTS)
    (path / CHANGELOG).write_text(CLOSED)
    clone.git("add", "scripts", CHANGELOG)
    clone.git("commit", "--quiet", "--message", "close the changelog")
    subprocess.run(["./scripts/uv", "--version"], cwd=path, capture_output=True, check=True)
    return path


@pytest.fixture
def clone(original: Path, tmp_path: Path) -> Clone:
    subprocess.run(["cp", "-a", original, tmp_path / "clone"], check=True)
    return Clone(tmp_path / "clone")


def test_a_member_that_is_ready_gets_its_tag_once(clone: Clone) -> None:
    done = clone.release("errors", "--dry-run")
    assert (done.returncode, clone.tags()) == (0, []), done.stderr

    done = clone.release("errors")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith(f"git push origin {TAG}")
    assert clone.asked() == ["--member errors", "--wheel errors"] * 2
    assert clone.tags() == [TAG]
    assert clone.git("cat-file", "-t", TAG).strip() == "tag"
    assert clone.git("rev-parse", f"{TAG}^{{commit}}") == clone.git("rev-parse", "HEAD")

    done = clone.release("errors")
    assert done.returncode == 1
    assert f"{TAG} is there already" in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CLOSED.replace("[0.1.0]", "[0.0.9]"), "has no heading for 0.1.0"),
        (CLOSED.replace("[0.1.0]", "[0x1.0]"), "has no heading for 0.1.0"),
        (CLOSED.replace(" - 2026-01-31", ""), "has no date"),
        (CLOSED.replace("2026-01-31", "31.1.2026"), "has no date"),
        (CLOSED.replace("2026-01-31", "9998-01-31"), "has not come yet"),
        (CLOSED.replace("[Unreleased]\n", "[Unreleased]\n\n- One thing more.\n"), "One thing more"),
    ],
)
def test_a_changelog_that_is_not_closed_is_refused(clone: Clone, text: str, said: str) -> None:
    clone.commit(CHANGELOG, text)
    done = clone.release("errors")
    assert (done.returncode, clone.tags(), clone.asked()) == (1, [], [])
    assert said in done.stderr


def test_a_tree_that_is_not_clean_is_refused(clone: Clone) -> None:
    (clone.path / "new.txt").write_text("new")
    done = clone.release("errors")
    assert (done.returncode, clone.tags(), clone.asked()) == (1, [], [])
    assert "new.txt" in done.stderr


def test_another_branch_and_no_branch_are_refused(clone: Clone) -> None:
    clone.git("checkout", "--quiet", "-b", "feature")
    assert "this is feature: a release is made of main" in clone.release("errors").stderr
    clone.git("checkout", "--quiet", "--detach")
    assert "no branch is checked out" in clone.release("errors").stderr
    assert (clone.tags(), clone.asked()) == ([], [])


def test_a_main_that_is_behind_is_refused(clone: Clone) -> None:
    clone.git("remote", "add", "origin", ".")
    ahead = clone.git("commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", "ahead").strip()
    clone.git("update-ref", "refs/remotes/origin/main", ahead)
    clone.git("branch", "--quiet", "--set-upstream-to", "origin/main")
    done = clone.release("errors")
    assert (done.returncode, clone.tags()) == (1, [])
    assert "main is behind what it was fetched from" in done.stderr


def test_red_tests_are_the_end_of_it(clone: Clone) -> None:
    done = clone.release("errors", tests=1)
    assert (done.returncode, clone.tags(), clone.asked()) == (1, [], ["--member errors"])


@pytest.mark.parametrize(
    "arguments", [[], ["nothing"], ["errors", "config"], ["--force", "errors"]]
)
def test_what_is_no_member_is_told_how_it_is_used(clone: Clone, arguments: list[str]) -> None:
    done = clone.release(*arguments)
    assert (done.returncode, clone.tags()) == (2, [])
    assert done.stderr


def test_help_says_what_is_checked() -> None:
    done = subprocess.run(
        [ROOT / "scripts" / "release", "--help"], capture_output=True, text=True, check=True
    )
    assert "mtenant-NAME-vVERSION" in done.stdout
    assert "the tag is not there" in done.stdout
