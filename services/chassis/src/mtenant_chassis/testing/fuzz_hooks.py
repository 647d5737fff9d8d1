"""What `fuzz` adds to schemathesis: no two requests of its stories have one Idempotency-Key.

It uses keys again, with equal bodies: the answer is the first one's, of something that it has deleted since.
"""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import schemathesis


@schemathesis.hook
def before_call(context: object, case: Any, kwargs: dict[str, Any]) -> None:
    """Make a key that is valid one of its own; one that is not stays as it is."""
    if case.meta is None or case.meta.phase.name.value != "stateful":
        return  # of the others each is judged by itself, and by what was left out of its header
    key = (case.headers or {}).get("idempotency-key")
    if isinstance(key, str) and re.fullmatch(r"[!-~]{1,255}", key):
        case.headers["idempotency-key"] = f"{key[:200]}-{uuid4().hex}"
