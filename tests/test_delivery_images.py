"""The images: what their Dockerfiles run is run in an empty directory; there is no Docker here."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

from mtenant_devstack.service import PROGRAMS, Program, installed

ROOT = Path(__file__).resolve().parent.parent
# Of the many services one is built always; they differ in nothing but their names.
SERVICES = [
    pytest.param(program, id=program.name, marks=[pytest.mark.slow] if number else [])
    for number, program in enumerate(installed())
]


@dataclass(frozen=True)
class Dockerfile:
    """The instructions of both stages: what builds, and what is delivered."""

    build: list[tuple[str, str]]
    final: list[tuple[str, str]]

    @classmethod
    def of(cls, program: Program) -> Dockerfile:
        text = (ROOT / "services" / program.name / "Dockerfile").read_text()
        lines = re.sub(r"\\\n\s*", "", text).splitlines()
        said = [tuple(line.split(" ", 1)) for line in lines if line and not line.startswith("#")]
        stages = [n for n, (word, _) in enumerate(said) if word == "FROM"]
        assert len(stages) == 2
        return cls([*said[: stages[1]]], [*said[stages[1] :]])  # type: ignore[list-item] # split in two

    def only(self, word: str) -> str:
        (found,) = (rest for said, rest in self.final if said == word)
        return found


def ignored() -> list[str]:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def is_sent(name: str, patterns: list[str]) -> bool:
    """Tell whether a file goes into the build: neither it nor a folder above it is left out."""
    above = [Path(name), *Path(name).parents][:-1]
    for pattern in patterns:
        bare = pattern.removeprefix("**/")
        for path in above:
            where = path.name if bare != pattern else str(path)
            if fnmatch(where, bare):
                return False
    return True


def copy_context(target: Path) -> None:
    """Copy what `COPY . .` copies of a fresh clone, as it is committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    patterns = ignored()
    for name in filter(None, listed):
        if is_sent(name, patterns) and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)
    committed = subprocess.run(
        ["git", "show", ":uv.lock"], cwd=ROOT, capture_output=True, check=True
    ).stdout
    (target / "uv.lock").write_bytes(committed)


@pytest.mark.parametrize("program", SERVICES)
def test_the_commands_of_a_dockerfile_make_a_service_that_runs(
    program: Program, tmp_path: Path
) -> None:
    file = Dockerfile.of(program)
    source, venv, tools = tmp_path / "src", tmp_path / "opt", tmp_path / "tools"
    source.mkdir()
    subprocess.run([sys.executable, "-m", "venv", tools], check=True)
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"VIRTUAL_ENV", "PYTHONPATH"} and not name.startswith("COV")
    }
    environment["PATH"] = f"{tools / 'bin'}:{environment['PATH']}"
    environment["UV_PYTHON"] = str(tools / "bin" / "python")
    environment.setdefault(
        "UV_SYSTEM_CERTS", "true"
    )  # as scripts/uv: a company's mirror has its own
    for word, rest in file.build:
        if word == "ENV":
            pairs = dict(pair.split("=", 1) for pair in shlex.split(rest))
            environment |= {n: v.replace("/opt/venv", str(venv)) for n, v in pairs.items()}
        elif word == "COPY":
            assert rest == ". ."
            copy_context(source)
        elif word == "RUN":
            assert not re.search(r"apt|gcc|build-essential", rest)  # no tools but uv
            done = subprocess.run(
                ["sh", "-c", rest],
                cwd=source,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=300,
            )
            assert done.returncode == 0, done.stderr
        else:
            assert word in {"FROM", "WORKDIR"}
    shutil.rmtree(source)  # nothing of it is in the image

    entry = json.loads(file.only("ENTRYPOINT"))
    assert entry == ["python", "-m", program.module]
    done = subprocess.run(
        [venv / "bin" / "python", *entry[1:], "openapi"],
        cwd=tmp_path,
        env={  # nothing is asked: it writes its document and ends
            "PATH": os.environ["PATH"],
            "ENVIRONMENT": "development",
            "DATABASE_URL": "postgresql://127.0.0.1:1/none",
            **{other.variable: "http://127.0.0.1:1" for other in PROGRAMS},
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["openapi"].startswith("3.")
    names = {path.name for path in venv.glob("lib/python*/site-packages/*")}
    assert {"pytest", "mypy", "ruff", "hypothesis", "mtenant_devstack"} & names == set()


@pytest.mark.parametrize("program", installed(), ids=lambda program: program.name)
def test_an_image_is_small_and_runs_as_nobody(program: Program) -> None:
    file = Dockerfile.of(program)

    assert {
        rest.removesuffix(" AS build")
        for word, rest in [*file.build, *file.final]
        if word == "FROM"
    } == {"python:3.13-slim"}
    assert [rest for word, rest in file.final if word == "COPY"] == [
        "--from=build /opt/venv /opt/venv"
    ]
    assert file.only("USER") == "10001"
    assert file.only("EXPOSE") == str(program.port)
    assert f"PORT={program.port}" in file.only("ENV")
    assert "HOST=0.0.0.0" in file.only("ENV")
    assert json.loads(file.only("CMD")) == ["serve"]
    assert "/live" in file.only("HEALTHCHECK")


def test_what_is_sent_to_a_build_is_what_is_committed_and_no_test() -> None:
    patterns = ignored()
    for name in (".env", ".venv/bin/python", ".git/config", "packages/errors/tests/conftest.py"):
        assert not is_sent(name, patterns)
    for name in (
        "uv.lock",
        "pyproject.toml",
        "packages/errors/README.md",
        "packages/errors/LICENSE",
    ):
        assert is_sent(name, patterns)


def test_what_holds_secrets_is_neither_committed_nor_sent_to_a_build() -> None:
    """docs/deploy/README.md has one write the secrets of a cluster to secrets.yaml."""
    assert "secrets.example.yaml secrets.yaml " in (ROOT / "docs/deploy/README.md").read_text()
    names = [".env", "secrets.yaml"]
    done = subprocess.run(
        ["git", "check-ignore", *names], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == names
    assert not any(is_sent(name, ignored()) for name in names)
