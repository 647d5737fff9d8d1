"""Exceptions as data: what went wrong, what caused it, and where; never a local variable."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from itertools import islice
from types import TracebackType
from typing import Final, TypeGuard

from mtenant_logger.plain import Plain, type_name
from mtenant_logger.redaction import Secrets

MAX_CHAIN: Final = 10
"""Causes, contexts and members of groups that are described."""

MAX_FRAMES: Final = 32
"""Frames of the stack, the innermost ones."""

MAX_CAUSE_BYTES: Final = 1024
"""Bytes of the message of one member of the chain."""

MAX_NAME_BYTES: Final = 256
"""Bytes of a type's name, a code, a place in the code or a logger's name."""


def describe(error: object, plain: Plain) -> dict[str, object]:
    """Return an error as the line's `error`: type, message, code, chain, stack.

    Args:
        error: an exception; or anything else that was given in its place, such as a text.
        plain: masks, bounds, and is told what is lost.
    """
    if not is_exception(error):
        name = plain.text(type_name(error), MAX_NAME_BYTES)
        return {"type": name, "message": _text_of(error, plain)}
    described = _summary(error, plain)
    if chain := _chain(error, plain):
        described["chain"] = chain
    frames = list(_frames(error.__traceback__))
    if len(frames) > MAX_FRAMES:
        plain.degraded = True
    if frames:
        described["stack"] = [plain.text(frame, MAX_NAME_BYTES) for frame in frames[-MAX_FRAMES:]]
    return described


def is_exception(error: object) -> TypeGuard[BaseException]:
    """Tell whether this is an exception by its type; `isinstance` would ask the object itself."""
    return issubclass(type(error), BaseException)


def render(error: object, secrets: Secrets) -> str:
    """Return Python's own traceback text, masked and bounded, for people who read a console."""
    if not is_exception(error):
        return ""
    try:
        text = "".join(traceback.format_exception(error, limit=-MAX_FRAMES))
    except Exception:  # it runs code of the exception
        return f"<unprintable {type_name(error)}>"
    return secrets.mask(text[: 64 * 1024]).rstrip("\n")


def _summary(exc: BaseException, plain: Plain, at_most: int | None = None) -> dict[str, object]:
    kind = type(exc)
    name = (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    summary: dict[str, object] = {
        "type": plain.text(name, MAX_NAME_BYTES),
        "message": _text_of(exc, plain, at_most),
    }
    try:
        code = getattr(exc, "code", None)
    except Exception:  # a property of somebody else's
        code = None
    if isinstance(code, str):
        summary["code"] = plain.text(str.__str__(code), MAX_NAME_BYTES)
    return summary


def _text_of(value: object, plain: Plain, at_most: int | None = None) -> str:
    try:
        text = str.__str__(str(value))
        # Python shows notes (PEP 678) below the message; so do we.
        notes = getattr(value, "__notes__", ())
        if isinstance(notes, list):
            text = "\n".join([text, *(str.__str__(str(note)) for note in notes[:MAX_CHAIN])])
    except Exception:  # `__str__` may raise anything
        plain.degraded = True
        return f"<unprintable {type_name(value)}>"
    return plain.text(text) if at_most is None else plain.text(text, at_most)


def _chain(error: BaseException, plain: Plain) -> list[dict[str, object]]:
    related = _related(error)
    chain: list[dict[str, object]] = []
    try:
        for relation, other in islice(related, MAX_CHAIN):
            described = _summary(other, plain, MAX_CAUSE_BYTES)
            chain.append({"relation": relation, **described, **_place(other, plain)})
        if next(related, None) is not None:
            plain.degraded = True
    except Exception:  # a class may make properties of `__cause__` and the like
        plain.degraded = True
    return chain


def _related(error: BaseException) -> Iterator[tuple[str, BaseException]]:
    """Yield what led to the error and what it groups, nearest first, each once."""
    seen = {id(error)}
    waiting: list[BaseException] = [error]
    while waiting:
        exc = waiting.pop(0)
        found: list[tuple[str, BaseException | None]] = [("cause", exc.__cause__)]
        if exc.__cause__ is None and not exc.__suppress_context__:
            found = [("context", exc.__context__)]
        if isinstance(exc, BaseExceptionGroup):
            found += [("member", member) for member in exc.exceptions]
        for relation, other in found:
            if other is not None and id(other) not in seen:
                seen.add(id(other))
                waiting.append(other)
                yield relation, other


def _place(exc: BaseException, plain: Plain) -> dict[str, object]:
    place = None
    for place in _frames(exc.__traceback__):  # noqa: B007  # the last one is where it was raised
        pass
    return {} if place is None else {"at": plain.text(place, MAX_NAME_BYTES)}


def _frames(tb: TracebackType | None) -> Iterator[str]:
    """Yield `file:line function` for each frame, outermost first; no source line is read."""
    while tb is not None:
        code = tb.tb_frame.f_code
        yield f"{code.co_filename}:{tb.tb_lineno} {code.co_qualname}"
        tb = tb.tb_next
