"""Print the reference page: `python -m mtenant_errors > REFERENCE.md`."""

from __future__ import annotations

from mtenant_errors.reference import reference

if __name__ == "__main__":
    print(reference(), end="")
