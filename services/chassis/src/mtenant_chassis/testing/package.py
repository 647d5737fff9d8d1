"""What a service's package shows, and what its layers name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType


def public_names(package: ModuleType) -> list[str]:
    """Return the names that a package has and does not hide; modules are not among them.

    Returns:
        The names in the order that `__all__` should have: constants first.
    """
    found = [
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    ]
    return sorted(found, key=lambda name: (not name.isupper(), name))


def names_above(package: ModuleType, layer: str, above: Iterable[str]) -> list[str]:
    """Return what the files of a layer name and should not know.

    That is what stands above it, any other service, and FastAPI in every layer but `routes`.

    Args:
        package: The service's.
        layer: The layer: a folder of the package.
        above: The modules of the package that the layer does not know.

    Returns:
        The files with the names that stand in them; none, if all is well.

    Raises:
        ValueError: There is no such layer.
    """
    files = sorted((Path(str(package.__file__)).parent / layer).glob("*.py"))
    if not files:
        raise ValueError(f"{package.__name__} has no layer {layer}")
    own = package.__name__
    words = [rf"\b{own}\.(?:{'|'.join(above)})\b", rf"\b(?!{own})[a-z]+_service\b"]
    if layer != "routes":
        words.append("fastapi")
    unknown = re.compile("|".join(words))
    return [f"{path.name}: {name}" for path in files for name in unknown.findall(path.read_text())]
