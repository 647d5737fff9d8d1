"""From any exception to an `AppError`: `from_exception` to answer with it, `wrap` to say more."""

from __future__ import annotations

from collections.abc import Iterator

from mtenant_errors import text
from mtenant_errors.exceptions import (
    AppError,
    GatewayTimeout,
    InternalServerError,
    ServiceUnavailable,
)


def from_exception(exc: BaseException) -> AppError:
    """Return the error that this program answers with when `exc` reaches its edge.

    An `AppError` is itself, unless it is remote: a callee's error becomes a `ServiceUnavailable`
    if it is retryable, with its `retry_after`, and a `BadGateway` otherwise. `TimeoutError` becomes
    `GatewayTimeout`, `ConnectionError` becomes `ServiceUnavailable`, anything else
    `InternalServerError`; `PermissionError` and `FileNotFoundError` too, because a file of the
    server is not the caller's business. The text of a foreign exception goes to `internal` only.

    Of an exception group the most severe member decides: the highest log level, then the one that
    cannot be retried, then the first.

    Raises:
        BaseException: `exc` itself, if it is no `Exception`: `KeyboardInterrupt`, `SystemExit`,
            `asyncio.CancelledError` and `GeneratorExit` are not errors and must not be answered.
    """
    if not isinstance(exc, Exception):
        raise exc
    worst = _worst(exc)
    if isinstance(worst, AppError):
        return worst._ours()
    err = _class_of(worst)(internal=text.describe(worst))
    err.__cause__ = exc
    return err


def wrap(exc: BaseException, message: str, **params: object) -> AppError:
    """Return an error that says what was being done when `exc` happened, with `exc` as its cause.

    ```python
    except Exception as exc:
        raise wrap(exc, "cannot close deal {id}", id=deal.id)
    ```

    The class, code, retry hint and everything public of an `AppError` are kept, and a remote one
    stays remote. A foreign exception becomes an `InternalServerError`, with its text in `internal`
    only. Of an exception group the most severe member decides, as in `from_exception`.

    Args:
        exc: What happened.
        message: The new public message, a template for `params`.
        **params: Added to those of an `AppError`.

    Raises:
        BaseException: `exc` itself, if it is no `Exception`.
    """
    if not isinstance(exc, Exception):
        raise exc
    worst = _worst(exc)
    if isinstance(worst, AppError):
        err = worst._again()
    else:
        err = InternalServerError(internal=text.describe(worst))
    err._say(message, params)
    err.__cause__ = exc
    return err


def _worst(exc: Exception) -> Exception:
    return max(_leaves(exc), key=_severity)


def _leaves(exc: Exception) -> Iterator[Exception]:
    # A stack and not recursion: groups nest as deep as somebody likes.
    stack: list[Exception] = [exc]
    while stack:
        top = stack.pop()
        if isinstance(top, ExceptionGroup):
            stack.extend(reversed(top.exceptions))
        else:
            yield top


def _severity(exc: Exception) -> tuple[int, bool]:
    err = exc._ours() if isinstance(exc, AppError) else _class_of(exc)
    return err.kind.log_level, not err.retryable


def _class_of(exc: Exception) -> type[AppError]:
    if isinstance(exc, TimeoutError):
        return GatewayTimeout
    if isinstance(exc, ConnectionError):
        return ServiceUnavailable
    return InternalServerError
