"""Say which members the workspace has: names for the scripts, matrix rows for CI.

    python scripts/members.py               one name a line, in an order in which siblings come first
    python scripts/members.py path NAME     the member's folder
    python scripts/members.py module NAME   the package it is imported as
    python scripts/members.py matrix        JSON rows, one per member and Python version
    python scripts/members.py matrix-once   JSON rows, one per member, on the oldest Python

A new member is found by its pyproject.toml: no list here or in the workflow has to follow it.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tomllib
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


@dataclass(frozen=True)
class Member:
    """One distribution of the workspace."""

    name: str
    path: Path
    module: str
    siblings: frozenset[str]


def members() -> list[Member]:
    """Return every member, each after the siblings it is built on."""
    workspace = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = [
        _read(folder)
        for pattern in workspace["tool"]["uv"]["workspace"]["members"]
        for folder in sorted(ROOT.glob(pattern))
        if (folder / "pyproject.toml").is_file()
    ]
    by_name = {member.name: member for member in found}
    order = TopologicalSorter({m.name: sorted(m.siblings & by_name.keys()) for m in found})
    return [by_name[name] for name in order.static_order()]


def _read(folder: Path) -> Member:
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project.get("dependencies", [])]
    for extra in project.get("optional-dependencies", {}).values():
        wanted += extra
    names = {re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0] for requirement in wanted}
    return Member(
        name=folder.name,
        path=folder.relative_to(ROOT),
        module=project["name"].replace("-", "_"),
        siblings=frozenset(name.removeprefix("mtenant-") for name in names) - {folder.name},
    )


def matrix(pythons: tuple[str, ...]) -> str:
    """Return the rows of a CI matrix as one line of JSON."""
    return json.dumps(
        {"include": [{"member": m.name, "python": v} for m in members() for v in pythons]}
    )


def main(arguments: list[str]) -> int:
    """Print what was asked for; the exit status is 2 for an unknown member."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "what",
        nargs="?",
        default="names",
        choices=["names", "path", "module", "matrix", "matrix-once"],
    )
    parser.add_argument("name", nargs="?")
    options = parser.parse_args(arguments)
    if options.what == "names":
        print("\n".join(member.name for member in members()))
    elif options.what == "matrix":
        print(matrix(PYTHONS))
    elif options.what == "matrix-once":
        print(matrix(PYTHONS[:1]))
    else:
        by_name = {member.name: member for member in members()}
        if options.name not in by_name:
            parser.error(f"no member {options.name!r}: there are {', '.join(sorted(by_name))}")
        print(getattr(by_name[options.name], options.what))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
