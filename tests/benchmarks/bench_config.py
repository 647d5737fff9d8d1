"""What settings cost beside dynaconf alone, and beside a plain dataclass."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dynaconf import Dynaconf  # type: ignore[attr-defined, unused-ignore] # dynaconf has no types
from harness import Bound, Case, Comparison, report

from mtenant_config import Config

GROUPS, FIELDS, VARIABLES = 8, 10, 20


@dataclass(frozen=True)
class Settings:
    """Stands for any settings class."""

    port: int
    name: str


def repeat(call: Callable[[], object]) -> Callable[[int], object]:
    """Return what calls it n times."""

    def run(n: int) -> None:
        for _ in range(n):
            call()

    return run


def write_settings(directory: Path) -> tuple[Path, Path]:
    """Write 80 settings in two sections, as TOML and as YAML; 20 more come from the environment."""
    toml, yaml = [], []
    for section in ("default", "production"):
        toml.append(f"[{section}]\nport = 8080\nname = '{section}'")
        yaml.append(f"{section}:\n  port: 8080\n  name: '{section}'")
        for group in range(GROUPS):
            toml.append(f"[{section}.group{group}]")
            yaml.append(f"  group{group}:")
            toml.extend(f"key{key} = '{section} {key}'" for key in range(FIELDS))
            yaml.extend(f"    key{key}: '{section} {key}'" for key in range(FIELDS))
    for number in range(VARIABLES):
        os.environ[f"CRM_EXTRA__NAME{number}"] = f"value {number}"
    paths = directory / "settings.toml", directory / "settings.yaml"
    for path, lines in zip(paths, (toml, yaml), strict=True):
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return paths


def loading(path: Path) -> Comparison:
    """Compare reading 100 settings of two sections and the environment."""

    def ours() -> object:
        return Config.load("CRM", files=[path], env="production").get("group7.key9")

    def theirs() -> object:
        settings = Dynaconf(
            settings_files=[str(path)],
            environments=True,
            env="production",
            envvar_prefix="CRM",
            merge_enabled=True,
        )
        return settings.get("group7.key9")

    if ours() != theirs():
        raise AssertionError("the two do not read the same")
    return Comparison(
        f"100 settings loaded, {path.suffix[1:].upper()}",
        [Case("Config.load", repeat(ours)), Case("dynaconf", repeat(theirs))],
        [Bound("Config.load", "dynaconf", 1.3)],
    )


def reading(path: Path) -> Comparison:
    """Compare one read by key. dynaconf has the int from TOML; for us it is text and typed both."""
    environ = {"CRM_LIMIT": "100"}
    config = Config.load("CRM", files=[path], env="production", environ=environ)
    settings = Dynaconf(settings_files=[str(path)], environments=True, env="production")
    if config.get_int("port") != settings.get("port"):
        raise AssertionError("the two do not read the same")

    def typed(n: int) -> None:
        get_int = config.get_int
        for _ in range(n):
            get_int("port")

    def text(n: int) -> None:
        get_int = config.get_int
        for _ in range(n):
            get_int("limit")

    def theirs(n: int) -> None:
        get = settings.get
        for _ in range(n):
            get("port")

    return Comparison(
        "one setting read by key",
        [
            Case("get_int of a file's int", typed),
            Case("get_int of a variable", text),
            Case("dynaconf get", theirs),
        ],
        [
            Bound("get_int of a file's int", "dynaconf get", 0.25),
            Bound("get_int of a variable", "dynaconf get", 0.25),
        ],
    )


def attribute() -> Comparison:
    """Compare an attribute of a bound object with one of a dataclass made by hand."""
    config = Config.load("CRM", overrides={"port": 8080, "name": "crm"}, environ={})
    bound, plain = config.bind(Settings), Settings(port=8080, name="crm")

    def read(settings: Settings) -> Callable[[int], object]:
        def run(n: int) -> None:
            for _ in range(n):
                _ = settings.port

        return run

    return Comparison(
        "one attribute read",
        [Case("bound setting", read(bound)), Case("plain dataclass", read(plain))],
        [Bound("bound setting", "plain dataclass", 1.2)],
    )


def main() -> int:
    """Run all comparisons."""
    with tempfile.TemporaryDirectory() as directory:
        toml, yaml = write_settings(Path(directory))
        return report("config", [loading(toml), loading(yaml), reading(toml), attribute()])


if __name__ == "__main__":
    sys.exit(main())
