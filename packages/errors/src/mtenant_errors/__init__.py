"""One typed error model, from the exception to the HTTP body and back.

Raise a kind, or a subclass of one that has its own code. Its public side renders as an RFC 9457
problem; what is internal, and the causes, have no way there. On the far side `from_problem` makes
the same class again.

>>> from mtenant_errors import NotFound, from_problem
>>> class ContactNotFound(NotFound):
...     code, message = "CONTACT_NOT_FOUND", "contact {id} not found"
>>> err = ContactNotFound(id=7, internal="searched in shard 3")
>>> err.to_http_response()
ErrorResponse(status_code=404, error_code='CONTACT_NOT_FOUND', message='contact 7 not found')
>>> from_problem(err.to_problem(), status=404)
NotFound('contact 7 not found', code='CONTACT_NOT_FOUND', remote=True)

The ASGI middleware is `mtenant_errors.asgi.ErrorMiddleware`.
"""

from mtenant_errors import codes
from mtenant_errors.conversion import from_exception, wrap
from mtenant_errors.exceptions import (
    AppError,
    BadGateway,
    BadRequest,
    Conflict,
    Forbidden,
    GatewayTimeout,
    Gone,
    InternalServerError,
    MethodNotAllowed,
    NotAcceptable,
    NotFound,
    PayloadTooLarge,
    PaymentRequired,
    PreconditionFailed,
    PreconditionRequired,
    RequestTimeout,
    ServiceUnavailable,
    TooManyRequests,
    Unauthorized,
    Unimplemented,
    Unprocessable,
    UnsupportedMediaType,
)
from mtenant_errors.problem import from_problem
from mtenant_errors.response import ErrorResponse
from mtenant_errors.table import Kind

__all__ = [
    "AppError",
    "BadGateway",
    "BadRequest",
    "Conflict",
    "ErrorResponse",
    "Forbidden",
    "GatewayTimeout",
    "Gone",
    "InternalServerError",
    "Kind",
    "MethodNotAllowed",
    "NotAcceptable",
    "NotFound",
    "PayloadTooLarge",
    "PaymentRequired",
    "PreconditionFailed",
    "PreconditionRequired",
    "RequestTimeout",
    "ServiceUnavailable",
    "TooManyRequests",
    "Unauthorized",
    "Unimplemented",
    "Unprocessable",
    "UnsupportedMediaType",
    "codes",
    "from_exception",
    "from_problem",
    "wrap",
]
