"""Run every ```python block of a Markdown file, in order, in one namespace.

    python tests/readme.py packages/errors/README.md

Needs nothing but Python, so that it also runs where only a wheel is installed. Lines are counted
as in the file: a traceback points at the README.
"""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

FENCE = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def run(path: Path) -> int:
    """Run the blocks of one file and return how many there were.

    Raises: Exception: whatever a block raises, with the file's own line numbers.
    """
    text = path.read_text(encoding="utf-8")
    module = types.ModuleType("__main__")  # a dataclass in a block looks its module up by name
    sys.modules["__main__"] = module
    blocks = list(FENCE.finditer(text))
    for block in blocks:
        above = "\n" * text.count("\n", 0, block.start(1))
        exec(compile(above + block[1], str(path), "exec"), module.__dict__)
    return len(blocks)


def main(arguments: list[str]) -> int:
    """Run each file named; the exit status is 1 if one has no block at all."""
    status = 0
    for name in arguments:
        count = run(Path(name))
        print(f"{name}: {count} python blocks ran")
        status = status or int(count == 0)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
