"""The table: everything that is decided about a kind of error, one row a kind.

The classes, `REFERENCE.md` and the parser of `from_problem` read it and decide nothing themselves,
so to change what a kind means is to change one line here.

The columns in words:

- `retryable` is a promise to the client: nothing was done, so the same request may be sent again,
  idempotent or not. Hence 502 and 504 are not: their outcome is unknown. AIP-194 retries UNAVAILABLE only;
  429 and 408 are here as well, since a request that was not let in has done nothing either.
- `grpc_code` is a projection for programs that speak gRPC too. The way back does not exist: four
  kinds are FAILED_PRECONDITION. Where `google/rpc/code.proto` names no HTTP status, it is the code
  whose description fits: 502 is UNKNOWN and not UNAVAILABLE, which gRPC clients retry.
- `log_level` is the level at which a server logs it: `info` for what callers get wrong every day,
  `warning` for what somebody may look into, `error` for what is the server's own fault.
- `title` is the name that the RFC gives to the status; `message` is what a caller reads when the
  code that raised the error said nothing better.
"""

from __future__ import annotations

from dataclasses import dataclass
from logging import ERROR, INFO, WARNING

from mtenant_errors import codes


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One row of the table, equal to itself only.

    Attributes:
        name: The name of the class.
        status: The HTTP status code. No two kinds share one.
        code: The error code that is used when the raising code names none.
        grpc_code: The name of the gRPC status code.
        retryable: Whether the same request may be sent again as it is.
        log_level: A level of the standard `logging` module.
        title: The problem's title: the name of the status.
        message: The default public message.
        source: Where the status is defined.
    """

    name: str
    status: int
    code: str
    grpc_code: str
    retryable: bool
    log_level: int
    title: str
    message: str
    source: str

    @property
    def type(self) -> str:
        """The problem's `type` URI, when the error has the kind's own code."""
        return codes.TYPE_PREFIX + self.code


# fmt: off
KINDS: tuple[Kind, ...] = (
    Kind("BadRequest", 400, codes.BAD_REQUEST, "INVALID_ARGUMENT", False, INFO,
         "Bad Request", "the request is not valid", "RFC 9110, 15.5.1"),
    Kind("Unauthorized", 401, codes.UNAUTHORIZED, "UNAUTHENTICATED", False, INFO,
         "Unauthorized", "valid credentials are needed", "RFC 9110, 15.5.2"),
    Kind("PaymentRequired", 402, codes.PAYMENT_REQUIRED, "FAILED_PRECONDITION", False, INFO,
         "Payment Required", "the subscription does not cover this", "RFC 9110, 15.5.3"),
    Kind("Forbidden", 403, codes.FORBIDDEN, "PERMISSION_DENIED", False, WARNING,
         "Forbidden", "the caller may not do this", "RFC 9110, 15.5.4"),
    Kind("NotFound", 404, codes.NOT_FOUND, "NOT_FOUND", False, INFO,
         "Not Found", "there is no such resource", "RFC 9110, 15.5.5"),
    Kind("MethodNotAllowed", 405, codes.METHOD_NOT_ALLOWED, "UNIMPLEMENTED", False, INFO,
         "Method Not Allowed", "the resource does not support this method", "RFC 9110, 15.5.6"),
    Kind("NotAcceptable", 406, codes.NOT_ACCEPTABLE, "INVALID_ARGUMENT", False, INFO,
         "Not Acceptable", "no representation matches the Accept headers", "RFC 9110, 15.5.7"),
    Kind("RequestTimeout", 408, codes.REQUEST_TIMEOUT, "DEADLINE_EXCEEDED", True, INFO,
         "Request Timeout", "the request did not arrive in time", "RFC 9110, 15.5.9"),
    Kind("Conflict", 409, codes.CONFLICT, "ABORTED", False, INFO,
         "Conflict", "the request conflicts with the current state", "RFC 9110, 15.5.10"),
    Kind("Gone", 410, codes.GONE, "NOT_FOUND", False, INFO,
         "Gone", "the resource is gone for good", "RFC 9110, 15.5.11"),
    Kind("PreconditionFailed", 412, codes.PRECONDITION_FAILED, "FAILED_PRECONDITION", False, INFO,
         "Precondition Failed", "the resource has changed since it was read", "RFC 9110, 15.5.13"),
    Kind("PayloadTooLarge", 413, codes.PAYLOAD_TOO_LARGE, "RESOURCE_EXHAUSTED", False, INFO,
         "Content Too Large", "the request body is too large", "RFC 9110, 15.5.14"),
    Kind("UnsupportedMediaType", 415, codes.UNSUPPORTED_MEDIA_TYPE, "INVALID_ARGUMENT", False, INFO,
         "Unsupported Media Type", "the type of the request body is not supported", "RFC 9110, 15.5.16"),
    Kind("Unprocessable", 422, codes.UNPROCESSABLE, "FAILED_PRECONDITION", False, INFO,
         "Unprocessable Content", "a rule forbids this request", "RFC 9110, 15.5.21"),
    Kind("PreconditionRequired", 428, codes.PRECONDITION_REQUIRED, "FAILED_PRECONDITION", False, INFO,
         "Precondition Required", "the request must be conditional: send If-Match", "RFC 6585, 3"),
    Kind("TooManyRequests", 429, codes.TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED", True, WARNING,
         "Too Many Requests", "too many requests: try again later", "RFC 6585, 4"),
    Kind("InternalServerError", 500, codes.INTERNAL_SERVER_ERROR, "INTERNAL", False, ERROR,
         "Internal Server Error", "something went wrong on the server", "RFC 9110, 15.6.1"),
    Kind("Unimplemented", 501, codes.UNIMPLEMENTED, "UNIMPLEMENTED", False, ERROR,
         "Not Implemented", "the server does not support this yet", "RFC 9110, 15.6.2"),
    Kind("BadGateway", 502, codes.BAD_GATEWAY, "UNKNOWN", False, ERROR,
         "Bad Gateway", "a service that is needed for this failed", "RFC 9110, 15.6.3"),
    Kind("ServiceUnavailable", 503, codes.SERVICE_UNAVAILABLE, "UNAVAILABLE", True, ERROR,
         "Service Unavailable", "the service is unavailable: try again later", "RFC 9110, 15.6.4"),
    Kind("GatewayTimeout", 504, codes.GATEWAY_TIMEOUT, "DEADLINE_EXCEEDED", False, ERROR,
         "Gateway Timeout", "a service that is needed for this did not answer in time", "RFC 9110, 15.6.5"),
)
# fmt: on

BY_STATUS: dict[int, Kind] = {kind.status: kind for kind in KINDS}
