"""What can go wrong with an examination as a whole."""

from __future__ import annotations

from mtenant_errors import ServiceUnavailable


class ExaminationFailed(ServiceUnavailable):
    """The server was not to be reached, or the connection broke. Nothing was changed."""

    code, message = "EXAMINATION_FAILED", "the database could not be examined: {problem}"
