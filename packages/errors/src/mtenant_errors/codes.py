"""Error codes as constants: the part of an error that a client's program may rely on.

A code is upper case, starts with a letter and has 2 to 63 characters (as many as AIP-193 gives to an
`ErrorInfo.reason`). It is never renamed once released: clients branch on it, and it is
the end of the problem's `type`. A program keeps its own codes beside its own errors; here are
the default of every kind, and `VALIDATION_FAILED`, which every service answers alike.
"""

from __future__ import annotations

import re

BAD_REQUEST = "BAD_REQUEST"
UNAUTHORIZED = "UNAUTHORIZED"
PAYMENT_REQUIRED = "PAYMENT_REQUIRED"
FORBIDDEN = "FORBIDDEN"
NOT_FOUND = "NOT_FOUND"
METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
NOT_ACCEPTABLE = "NOT_ACCEPTABLE"
REQUEST_TIMEOUT = "REQUEST_TIMEOUT"
CONFLICT = "CONFLICT"
GONE = "GONE"
PRECONDITION_FAILED = "PRECONDITION_FAILED"
PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
UNPROCESSABLE = "UNPROCESSABLE"
PRECONDITION_REQUIRED = "PRECONDITION_REQUIRED"
TOO_MANY_REQUESTS = "TOO_MANY_REQUESTS"
INTERNAL_SERVER_ERROR = "INTERNAL_SERVER_ERROR"
UNIMPLEMENTED = "UNIMPLEMENTED"
BAD_GATEWAY = "BAD_GATEWAY"
SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
GATEWAY_TIMEOUT = "GATEWAY_TIMEOUT"

VALIDATION_FAILED = "VALIDATION_FAILED"
"""A request that does not parse or does not fit the schema: a `BadRequest` with `errors`."""

TYPE_PREFIX = "urn:mtenant:error:"
"""What stands before the code in a problem's `type`."""

_GRAMMAR = re.compile(r"[A-Z][A-Z0-9_]{1,62}")


def is_code(value: object) -> bool:
    """Tell whether a value is a code by the grammar `[A-Z][A-Z0-9_]{1,62}`."""
    return isinstance(value, str) and _GRAMMAR.fullmatch(value) is not None
