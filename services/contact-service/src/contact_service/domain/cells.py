"""Cells of CSV files: texts that no spreadsheet takes for a formula.

A text that a spreadsheet would compute (OWASP, CSV injection) is written with an apostrophe before it, as
people type it there; one that has an apostrophe there already gets another. Reading takes one away.
"""

from __future__ import annotations

import re
from typing import Final

_FORMULA: Final = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def escape(text: str) -> str:
    """Return the cell of a text.

    >>> escape("=1+1"), escape("'=1"), escape("O'Hara")
    ("'=1+1", "''=1", "O'Hara")
    """
    return f"'{text}" if _FORMULA.match(text) else text


def unescape(cell: str) -> str:
    """Return the text of a cell.

    >>> unescape("'=1+1"), unescape("-1"), unescape("'tis")
    ('=1+1', '-1', "'tis")
    """
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
