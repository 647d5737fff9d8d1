"""Trace and span ids: from OpenTelemetry if the program uses it, or from a `traceparent` header."""

from __future__ import annotations

import re
import sys
from typing import Final

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")


def current_ids() -> tuple[str, str] | None:
    """Return trace and span id of OpenTelemetry's current span, or None.

    Nothing is imported for it: a program without OpenTelemetry pays one look into `sys.modules`,
    at each call, because it may be imported at any time. The form of the ids is that of the
    OpenTelemetry specification, "Trace Context in non-OTLP Log Formats".
    """
    module = sys.modules.get("opentelemetry.trace")
    if module is None:
        return None
    # Half imported by another thread, or not what it seems: then there is no span.
    try:
        context = module.get_current_span().get_span_context()
        if context.is_valid:
            return f"{context.trace_id:032x}", f"{context.span_id:016x}"
    except Exception:  # noqa: S110
        pass
    return None


def parse_traceparent(header: str) -> str | None:
    """Return the trace id of a W3C `traceparent` header, or None if it is not a valid one.

    Trace Context, level 1, section 3.2: version ff and ids of zeros are invalid; a version above
    00 may carry more members.
    """
    match = _TRACEPARENT.fullmatch(header.strip())
    if (
        match is None
        or header.strip().startswith("ff")
        or (match[3] and header.strip()[:2] == "00")
    ):
        return None
    trace_id, parent_id = match[1], match[2]
    return trace_id if trace_id.strip("0") and parent_id.strip("0") else None
