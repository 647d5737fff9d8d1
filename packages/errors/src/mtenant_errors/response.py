"""The small answer: three members, for clients that do not speak RFC 9457."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """What an error tells a caller, in three members.

    Attributes:
        status_code: The HTTP status code.
        error_code: The error code, such as `CONTACT_NOT_FOUND`.
        message: The public message.
    """

    status_code: int
    error_code: str
    message: str

    def to_json(self) -> str:
        """Return a JSON object with exactly these three members."""
        return json.dumps(asdict(self))
