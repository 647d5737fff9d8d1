"""What schemathesis does besides; test_schemathesis.py names this file to it.

One request of a scenario makes a thing, and the next ones ask for it. With the key of an earlier scenario
that request is the earlier one again: it is told what was made then, which may have been deleted since.
"""

from __future__ import annotations

import re
from typing import Any

import schemathesis

FIELD = "idempotency-key"
KEY = re.compile(r"[\x21-\x7e]{1,255}")
KEPT = 200  # characters of a key; the case's id has a few


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Give a request of a scenario a key that no other has; what is no key stays what it is."""
    phase = case.meta.phase.name if case.meta is not None else None
    if phase == "stateful" and KEY.fullmatch(case.headers.get(FIELD) or ""):
        case.headers[FIELD] = case.headers[FIELD][:KEPT] + case.id
