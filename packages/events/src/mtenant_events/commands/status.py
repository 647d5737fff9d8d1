"""How a command ends."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
"""Done, and all is well."""

FAILED: Final = 1
"""It failed; the reason is on standard error."""

LOOK: Final = 3
"""Done, and something wants to be looked at."""
