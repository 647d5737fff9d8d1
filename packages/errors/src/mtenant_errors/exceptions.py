"""The exceptions: one class for each kind of error, all of them an `AppError`.

```
Exception
└── AppError
    ├── BadRequest              400     the request is wrong
    ├── Unauthorized            401     nobody knows who asks
    ├── PaymentRequired         402     the subscription does not cover it
    ├── Forbidden               403     a role forbids it
    ├── NotFound                404     there is no such thing, or none that the caller may know of
    ├── MethodNotAllowed        405
    ├── NotAcceptable           406
    ├── RequestTimeout          408  r  the request did not arrive in time
    ├── Conflict                409     the state forbids it now
    ├── Gone                    410
    ├── PreconditionFailed      412     If-Match did not match
    ├── PayloadTooLarge         413
    ├── UnsupportedMediaType    415
    ├── Unprocessable           422     a rule of the business forbids it
    ├── PreconditionRequired    428     If-Match is missing
    ├── TooManyRequests         429  r
    ├── InternalServerError     500     a fault of this program
    ├── Unimplemented           501
    ├── BadGateway              502     a service that this one needs failed
    ├── ServiceUnavailable      503  r
    └── GatewayTimeout          504     a service that this one needs was too slow

r: retryable, unless a subclass or the far side says otherwise
```

What each kind means to HTTP, gRPC, logs and retries stands in `table.py`, and only there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Self

from mtenant_errors import rendering, text
from mtenant_errors import retry_after as _retry_after
from mtenant_errors.codes import is_code
from mtenant_errors.response import ErrorResponse
from mtenant_errors.table import BY_STATUS, Kind

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2: token
_NOT_IN_A_FIELD = re.compile(r"[^\x20-\x7e]")
_FRAMING = frozenset({"connection", "content-length", "transfer-encoding"})


class AppError(Exception):
    """The base of every error that a program raises for its callers to see.

    Catch it to handle any of them; raise one of its subclasses. An `AppError` of its own counts as
    an `InternalServerError`. A program names its errors by subclassing a kind:

    ```python
    class ContactNotFound(NotFound):
        code, message = "CONTACT_NOT_FOUND", "contact {id} not found"

    raise ContactNotFound(id=contact_id)
    ```

    A place `{name}` in a message is filled with the param of that name, and a place without one
    stays as it is written. This is not `str.format`: values are put in as text, nothing else.
    A positional message is a template only if params are given too.

    What callers may see: `message`, `code`, `detail`, `errors`, `params`, `headers`, `retry_after`.
    What only logs may see: `internal`, the causes, the notes. There is no way from these into a body.

    Attributes:
        kind: The row of the table (of the class).
        status_code: The HTTP status code (of the class).
        code: What a client's program branches on, such as `CONTACT_NOT_FOUND`.
        message: On the class the template, on the instance the text.
        detail: More about this occurrence for the caller, or None.
        errors: One entry for each thing that is wrong with a request, JSON values only. RFC 9457
            uses `detail` and `pointer` as members; any may stand there. `input` and `ctx`,
            which validators fill with what the caller sent, are left out.
        params: What was put into the message. Numbers, strings, dates, UUIDs stay what they are,
            anything else is kept as its text; secrets and exceptions are kept as `***`.
        internal: Text for the log, or None. It is a note of the exception too, which tracebacks and
            loggers show.
        retry_after: How many seconds to wait before a retry (0 to 86400), or None.
        retryable: Whether the same request may be sent again as it is.
        headers: More response fields, such as `WWW-Authenticate` or `Allow`.
        remote: Whether another service raised it and `from_problem` brought it here.
    """

    kind: ClassVar[Kind]
    status_code: ClassVar[int]

    code: str
    message: str
    retryable: bool
    detail: str | None = None
    errors: tuple[Mapping[str, object], ...] = ()
    params: Mapping[str, object] = _NOTHING
    internal: str | None = None
    retry_after: float | None = None
    headers: Mapping[str, str] = _NOTHING
    remote: bool = False

    def __init_subclass__(cls, *, status: int | None = None, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if status is not None:
            cls._take(BY_STATUS[status])
        if not is_code(cls.code):
            raise ValueError(
                f"{cls.__name__}.code is {cls.code!r}: write 2 to 63 of A-Z, 0-9 and _, a letter first"
            )
        if not text.is_template(cls.message):
            raise ValueError(
                f"{cls.__name__}.message is {cls.message!r}: "
                "write a text whose only braces are {name}, with the name of a param"
            )

    @classmethod
    def _take(cls, kind: Kind) -> None:
        cls.kind = kind
        cls.status_code = kind.status
        cls.code = kind.code
        cls.message = kind.message
        cls.retryable = kind.retryable

    def __init__(
        self,
        /,
        message: str | None = None,
        *,
        code: str | None = None,
        detail: str | None = None,
        errors: Iterable[Mapping[str, object]] | None = None,
        internal: str | None = None,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
        **params: object,
    ) -> None:
        """Make an error; every argument may be left out.

        Args:
            message: The public text, instead of the class's.
            code: The error code, instead of the class's.
            detail: More about this occurrence, public.
            errors: One entry for each thing that is wrong with the request, public.
            internal: Text for the log only.
            retry_after: Seconds to wait before a retry, sent as `Retry-After`.
            headers: More response fields.
            **params: What the message's `{name}` places are filled with, public.

        Raises:
            ValueError: `code` is not `[A-Z][A-Z0-9_]{1,62}`.
        """
        if code is not None:
            if not is_code(code):
                raise ValueError(
                    f"code is {code!r}: write 2 to 63 of A-Z, 0-9 and _, a letter first"
                )
            self.code = code
        if detail is not None:
            self.detail = text.shown(detail, text.DETAIL_LIMIT)
        if errors is not None:
            self.errors = text.entries(errors)
        if internal is not None:
            self._tell(text.shown(internal, text.INTERNAL_LIMIT))
        if retry_after is not None:
            self.retry_after = _retry_after.seconds(retry_after)
        if headers is not None:
            self.headers = dict(headers)
        self._say(message, params)

    def _say(self, message: object, params: Mapping[str, object]) -> None:
        if params:
            kept = text.kept(params)
            self.params = {**self.params, **kept} if self.params else kept
        if isinstance(message, BaseException):
            # `raise BadRequest(exc)`: the text of an exception was written for a log.
            if self.internal is None:
                self._tell(text.describe(message))
            message = None
        said = "" if message is None else text.shown(message, text.MESSAGE_LIMIT)
        if said:
            self.message = text.render(said, self.params)
        else:
            self.message = text.fill(type(self).message, self.params)
        self.args = (self.message,)

    def _tell(self, internal: str) -> None:
        # A note (PEP 678) too, since every logger and every traceback shows those.
        self.internal = internal
        self.add_note(f"internal: {internal}")

    def to_http_response(self) -> ErrorResponse:
        """Return status, code and message; of a remote error those that this program answers with."""
        err = self._ours()
        return ErrorResponse(err.status_code, err.code, err.message)

    def to_problem(
        self, *, instance: str | None = None, request_id: str | None = None
    ) -> dict[str, object]:
        """Return the body of an RFC 9457 problem, ready for a JSON encoder.

        Beside the members of the RFC it has `code`, `error` (the message), `details` (only if there
        is a `detail`), `request_id`, `retryable` and `errors` (only if there are any). A remote error
        gives the problem that this program answers with.

        Args:
            instance: A URI reference of this occurrence, such as the path of the request.
            request_id: The id under which the logs have it.
        """
        return rendering.members(self._ours(), instance, request_id)

    def to_problem_json(self, *, instance: str | None = None, request_id: str | None = None) -> str:
        """Return the same problem as JSON text, ASCII only, faster than an encoder makes it."""
        return rendering.encode(self._ours(), instance, request_id)

    def to_headers(self) -> dict[str, str]:
        """Return the response fields that go with the problem, names in lower case."""
        err = self._ours()
        fields: dict[str, str] = {}
        for key, value in err.headers.items():
            name = text.shown(key)
            if _FIELD_NAME.fullmatch(name) and name.lower() not in _FRAMING:
                # A line break in a value would start a field of its own.
                fields[name.lower()] = _NOT_IN_A_FIELD.sub(
                    " ", text.shown(value, text.DETAIL_LIMIT)
                )
        fields["content-type"] = "application/problem+json"
        fields["cache-control"] = "no-store"
        if err.retry_after is not None:
            fields["retry-after"] = _retry_after.header(err.retry_after)
        return fields

    def as_own(self) -> Self:
        """Return a remote error as one of this program, so that it is answered as it came.

        `raise err.as_own()` is how a callee's 404 becomes our 404. The remote error is its cause.
        """
        if not self.remote:
            return self
        own = self._again()
        own.remote = False
        own.__cause__ = self
        return own

    def _again(self) -> Self:
        # Not by calling the class: its `__init__` may take other arguments.
        again = type(self).__new__(type(self))
        again.__dict__.update(self.__dict__)
        again.args = self.args
        # What is for logs stays with this one, which becomes the cause.
        again.__dict__.pop("internal", None)
        again.__dict__.pop("__notes__", None)
        return again

    def _ours(self) -> AppError:
        # A callee's answer is about our request to it, not about our caller's request to us.
        if not self.remote:
            return self
        kind = ServiceUnavailable if self.retryable else BadGateway
        ours = kind(
            internal=f"{self!r}; {self.internal}" if self.internal else repr(self),
            retry_after=self.retry_after if self.retryable else None,
        )
        ours.__cause__ = self
        return ours

    def __reduce__(self) -> tuple[object, ...]:
        # Not by calling the class: its `__init__` may take other arguments (cpython issue 120810).
        return _revive, (type(self), self.args), self.__dict__.copy()

    def __repr__(self) -> str:
        remote = ", remote=True" if self.remote else ""
        return f"{type(self).__name__}({self.message!r}, code={self.code!r}{remote})"


def _revive(cls: type[AppError], args: tuple[object, ...]) -> AppError:
    err = cls.__new__(cls, *args)
    err.args = args
    return err


AppError._take(BY_STATUS[500])


class BadRequest(AppError, status=400):
    """The request does not parse or does not fit the schema."""


class Unauthorized(AppError, status=401):
    """The caller did not prove who it is.

    A 401 must carry a challenge (RFC 9110, 15.5.2). It is `Bearer`, without a reason, which is
    right for a request without credentials (RFC 6750, 3.1). For a bad token a subclass says
    `headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'}`.
    """

    headers: Mapping[str, str] = MappingProxyType({"WWW-Authenticate": "Bearer"})


class PaymentRequired(AppError, status=402):
    """The subscription of the caller does not cover the request."""


class Forbidden(AppError, status=403):
    """The caller is known, and its role forbids the request.

    Not for what belongs to another tenant: that is a `NotFound`, so that nobody learns what exists.
    """


class NotFound(AppError, status=404):
    """There is no such resource, or none that the caller may know of."""


class MethodNotAllowed(AppError, status=405):
    """The resource does not support the method; say which by `headers={"Allow": "GET, HEAD"}`."""


class NotAcceptable(AppError, status=406):
    """There is no representation that the caller's Accept fields allow."""


class RequestTimeout(AppError, status=408):
    """The request did not arrive in time; nothing was done."""


class Conflict(AppError, status=409):
    """The request is fine, but the present state forbids it: a duplicate, a concurrent change."""


class Gone(AppError, status=410):
    """The resource was there and will not come back."""


class PreconditionFailed(AppError, status=412):
    """If-Match or another condition did not hold: the resource has changed since it was read."""


class PayloadTooLarge(AppError, status=413):
    """The request body is too large."""


class UnsupportedMediaType(AppError, status=415):
    """The request body has a type that the resource does not take."""


class Unprocessable(AppError, status=422):
    """The request fits the schema, and a rule of the business forbids it."""


class PreconditionRequired(AppError, status=428):
    """The request must be conditional, so that it cannot overwrite a change unseen."""


class TooManyRequests(AppError, status=429):
    """The caller is over its rate; `retry_after` says when it is welcome again."""


class InternalServerError(AppError, status=500):
    """A fault of this program; what happened is in `internal` and the cause."""


class Unimplemented(AppError, status=501):
    """The program does not support this yet."""


class BadGateway(AppError, status=502):
    """A service that this one needs failed, or answered with an error or with nonsense."""


class ServiceUnavailable(AppError, status=503):
    """The program, or what it needs, is not available now; nothing was done."""


class GatewayTimeout(AppError, status=504):
    """A service that this one needs did not answer in time; what it did is unknown."""


CLASSES: dict[int, type[AppError]] = {cls.status_code: cls for cls in AppError.__subclasses__()}
"""The class of every status in the table."""

# Tracebacks, pickles and logs show the name that people import.
for _cls in (AppError, *CLASSES.values()):
    _cls.__module__ = "mtenant_errors"
