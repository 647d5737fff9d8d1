"""One log line: which fields it has, in which order, and how it becomes bytes.

There are two ways to the same bytes. `Lines.event` and `Lines.render` take anything. `Lines.encode`
first tries `Lines.quick`, which looks whether a call is as nearly all calls are (a short message; tags
with known names and plain, short, harmless values) and then joins prepared pieces.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from contextvars import Context
from dataclasses import replace
from sys import modules
from typing import Any, Final

from mtenant_logger.context import SCOPE, Scope
from mtenant_logger.encoding import Encoder, best_encoder
from mtenant_logger.event import Event, Named, Source
from mtenant_logger.failure import MAX_NAME_BYTES, describe
from mtenant_logger.levels import NAMES, WARNING, LevelName
from mtenant_logger.plain import ALIKE_BELOW, ALIKE_FROM, MAX_KEY_CHARS, MAX_LINE_BYTES, Plain
from mtenant_logger.redaction import SECRETS, Secrets, is_sensitive
from mtenant_logger.trace import current_ids

MAX_TAGS: Final = 64
"""Tags of one line: of the context, of `bind` and of the call together; the rest is left out."""

MAX_DEGRADED: Final = 16
"""Names of fields that `degraded` lists."""

RESERVED: Final = frozenset(
    [
        "timestamp",
        "level",
        "message",
        "service",
        "request_id",
        "tenant_id",
        "trace_id",
        "span_id",
        "args",
        "degraded",
        "error",
        "logger",
        "caller",
    ]
)
"""Names that only this library writes; a tag of that name gets the prefix `tag_`."""

LIBRARY: Final = "mtenant_logger"
DROPPED: Final = "log records dropped"
"""Logger and message of the line that tells what was dropped."""

_IDENTITY: Final = ("request_id", "tenant_id")
_TRACE: Final = ("trace_id", "span_id")
_GIVEN: Final = ("service", *_IDENTITY, *_TRACE)

# What the quick way takes: fewer bytes than any cap, so that it never has to cut.
_SHORT: Final = 2048
_FEW: Final = 16
_KNOWN_NAMES: Final = 4096
_SMALL_INT: Final = 2**63
_CONSTANTS: Final = frozenset((bool, type(None)))

# JSON allows these raw, but terminals obey the C1 controls and many readers split lines at U+0085,
# U+2028 and U+2029. In UTF-8 they cannot be part of another character, so bytes may be replaced.
_UNSAFE: Final = re.compile(rb"\xc2[\x80-\x9f]|\xe2\x80[\xa8\xa9]")

_NO_NAMES: Final[frozenset[str]] = frozenset()
_NEVER: Final = (None, b"", b"", b"", None)
_NEVER_BOUND: Final = (None, b"", None, b"")


class Lines:
    """Makes the lines of one service."""

    def __init__(
        self,
        service: str,
        *,
        encoder: Encoder | None = None,
        secrets: Secrets = SECRETS,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._service = service
        chosen = best_encoder() if encoder is None else encoder
        self._dumps, self._dumps_simple = chosen.encode, chosen.encode_simple
        self._secrets = secrets
        self._clock = clock
        # The pieces of a quick line that depend on the second, and on the level.
        self._stamp: tuple[int, bytes] = (-1, b"")
        self._levels = {
            level: b'Z","level":"%b","message":' % name.encode() for level, name in NAMES.items()
        }
        self._renew()

    def encode(  # noqa: PLR0917  # six words of one call; keywords would cost more than they tell
        self,
        source: Source,
        level: int,
        message: object,
        args: tuple[object, ...],
        tags: Mapping[str, Any],
        err: object,
    ) -> bytes:
        """Return the line of a call, with its newline.

        Args:
            source: who logs.
            level: one of the five.
            message: any object; its text is the message, and nothing in it is formatted.
            args: positional arguments, kept as the field `args`.
            tags: the call's own.
            err: an exception, or None.
        """
        line = self.quick(source, level, message, args, tags, err)
        if line is None:
            line = self.render(self.event(source, level, message, args, tags, err))
        return line

    def text_of(self, event: Event) -> str:
        """Return an event's request, tenant and tags as ` name=value`, for the console."""
        shown: dict[str, object] = {
            name: event.identity[name] for name in _IDENTITY if name in event.identity
        }
        pairs = {**shown, **event.tags}.items()
        return "".join(f" {name}={self._dumps(value).decode()}" for name, value in pairs)

    def notice(self, dropped: Mapping[LevelName, int]) -> bytes:
        """Return the line that tells how many lines were dropped, by level."""
        # Of the process, not of the request in whose context the backlog happens to be flushed.
        tags = {"dropped": dict(dropped)}
        return Context().run(self.encode, Named(LIBRARY), WARNING, DROPPED, (), tags, None)

    def quick(  # noqa: PLR0912, PLR0917  # each branch is one thing that must not be there
        self,
        source: Source,
        level: int,
        message: object,
        args: tuple[object, ...],
        tags: Mapping[str, Any],
        err: object,
    ) -> bytes | None:
        """Return what `encode` does for a simple call, and None for any other."""
        if self._epoch_of_secrets is not self._secrets.epoch:
            self._renew()
        search = self._secrets.search
        if (
            err is not None
            or args
            or type(message) is not str
            or len(message) > _SHORT
            or "://" in message
            or "=" in message
            or (search is not None and search(message))
            or len(tags) > _FEW
        ):
            return None
        known = self._known
        for key, value in tags.items():
            if key not in known:
                return None
            kind = type(value)
            if kind is str:
                if (
                    len(value) > _SHORT
                    or "://" in value
                    or "=" in value
                    or (search is not None and search(value))
                ):
                    return None
            elif kind is int:
                if not -_SMALL_INT <= value < _SMALL_INT:
                    return None
            elif kind is float:
                if not ALIKE_FROM <= value < ALIKE_BELOW:
                    return None
            elif kind not in _CONSTANTS:
                return None
        scope = SCOPE.get()
        epoch, head, trace, scope_tags, scope_names = scope.prepared or _NEVER
        if epoch is not self._epoch:
            _, head, trace, scope_tags, scope_names = self._prepare_scope(scope)
        epoch, bound, bound_names, tail = source.prepared or _NEVER_BOUND
        if epoch is not self._epoch:
            _, bound, bound_names, tail = self._prepare_source(source)
        if scope_names is None or bound_names is None:
            return None
        if scope_names and not (
            scope_names.isdisjoint(tags) and scope_names.isdisjoint(bound_names)
        ):
            return None
        if bound_names and not bound_names.isdisjoint(tags):
            return None
        if "opentelemetry.trace" in modules and (ids := current_ids()) is not None:
            trace = b',"trace_id":"%b","span_id":"%b"' % (ids[0].encode(), ids[1].encode())
        now = self._clock()
        second = now // 1_000_000_000
        stamp = self._stamp
        if stamp[0] != second:
            stamp = self._stamp = (second, b'{"timestamp":"' + _second_text(second))
        dumps = self._dumps_simple
        try:
            line = b"".join(
                (
                    stamp[1],
                    b"%06d" % (now // 1000 % 1_000_000),
                    self._levels[level],
                    dumps(message),
                    head,
                    trace,
                    scope_tags,
                    bound,
                    b"," + dumps(tags)[1:-1] if tags else b"",
                    tail,
                )
            )
        except (TypeError, ValueError):  # a lone surrogate, in orjson's words or in Python's
            return None
        if not line.isascii():
            line = _UNSAFE.sub(_escape, line)
        return line if len(line) <= MAX_LINE_BYTES else None

    def event(  # noqa: PLR0917  # as above
        self,
        source: Source,
        level: int,
        message: object,
        args: tuple[object, ...],
        tags: Mapping[str, object],
        err: object,
        caller: str | None = None,
    ) -> Event:
        """Return the call as redacted, bounded, plain data."""
        now = self._clock()
        if self._epoch_of_secrets is not self._secrets.epoch:
            self._renew()
        scope = SCOPE.get()
        plain = Plain(self._secrets)
        degraded: list[str] = []

        def kept(name: str, value: Any) -> Any:
            # Notes the field by name if anything of it was lost since the last look.
            if plain.degraded:
                plain.degraded = False
                if len(degraded) < MAX_DEGRADED:
                    degraded.append(name)
            return value

        text = kept(
            "message", plain.text(message) if type(message) is str else _said(message, plain)
        )
        identity = self._identity(scope, plain)
        kept("context", None)
        if (ids := current_ids()) is not None:
            identity |= dict(zip(_TRACE, ids, strict=True))
        fields: dict[str, object] = {}
        for key, value in {**scope.tags, **source.bound, **tags}.items():
            if len(fields) == MAX_TAGS:
                plain.degraded = True
                kept("tags", None)
                break
            name = self._name(key, fields, plain)
            fields[name] = kept(name, plain.tag(name, value))
        if args:
            fields["args"] = kept("args", plain.items(args))
        error = None if err is None else kept("error", describe(err, plain))
        logger = kept("logger", plain.text(source.name, MAX_NAME_BYTES))
        place = None if caller is None else kept("caller", plain.text(caller, MAX_NAME_BYTES))
        return Event(now, level, text, identity, fields, degraded, error, logger, place)

    def render(self, event: Event) -> bytes:
        """Return the line of an event, with its newline, in at most MAX_LINE_BYTES."""
        line = self._dump(event)
        if len(line) > MAX_LINE_BYTES:
            line = self._dump(self._fitted(event))
        return line

    def _dump(self, event: Event) -> bytes:
        second, below = divmod(event.time_ns, 1_000_000_000)
        head: dict[str, object] = {
            "timestamp": f"{_second_text(second).decode()}{below // 1000:06d}Z",
            "level": NAMES[event.level],
            "message": event.message,
        }
        line = self._dumps({**head, **event.fields()}) + b"\n"
        return _UNSAFE.sub(_escape, line)

    def _fitted(self, event: Event) -> Event:
        """Return the event with its error made short if need be, and with the tags that then fit."""
        degraded = list(event.degraded)
        bare = replace(event, tags={})
        if len(self._dump(bare)) > MAX_LINE_BYTES // 2:
            bare.message, bare.error = _shortened(event.message), _short_error(event.error)
            degraded += ["message", "error"]
        # Room for the names of what is left out, at their longest.
        room = MAX_LINE_BYTES - len(self._dump(bare)) - (MAX_DEGRADED + 1) * (MAX_KEY_CHARS * 6 + 3)
        for name, value in event.tags.items():
            size = len(_UNSAFE.sub(_escape, self._dumps({name: value})))
            if size <= room:
                bare.tags[name] = value
                room -= size
            else:
                degraded.append(name)
        bare.degraded = list(dict.fromkeys(degraded))[:MAX_DEGRADED]
        return bare

    def _renew(self) -> None:
        """Forget what was encoded: a value in it may have become a secret."""
        epoch = self._secrets.epoch
        self._known: set[str] = set()
        self._epoch = object()
        # Last, so that no other thread takes the old pieces for good ones.
        self._epoch_of_secrets = epoch

    def _name(self, key: object, taken: Mapping[str, object], plain: Plain) -> str:
        name = plain.key(key)
        harmless = name == key and name not in RESERVED and not is_sensitive(name)
        if harmless:
            if (
                len(self._known) >= _KNOWN_NAMES
            ):  # somebody makes names up; the usual ones come back
                self._known.clear()
            self._known.add(name)
        while name in RESERVED or name in taken:
            name = f"tag_{name}"
        return name

    def _identity(self, scope: Scope, plain: Plain) -> dict[str, object]:
        given = {"service": self._service, **scope.identity}
        return {name: _short_text(given[name], plain) for name in _GIVEN if name in given}

    def _prepare_scope(self, scope: Scope) -> tuple[Any, ...]:
        epoch = self._epoch
        plain = Plain(self._secrets)
        identity = self._identity(scope, plain)
        trace: dict[str, object] = {name: identity.pop(name) for name in _TRACE if name in identity}
        tags, names = self._prepare_tags(scope.tags, plain)
        head = self._piece(identity)
        ready = (epoch, head, self._piece(trace), tags, None if plain.degraded else names)
        scope.prepared = ready
        return ready

    def _prepare_source(self, source: Source) -> tuple[Any, ...]:
        epoch = self._epoch
        plain = Plain(self._secrets)
        tags, names = self._prepare_tags(source.bound, plain)
        name = plain.text(source.name, MAX_NAME_BYTES)
        tail = self._piece({"logger": name}) + b"}\n"
        ready = (epoch, tags, None if plain.degraded else names, tail)
        source.prepared = ready
        return ready

    def _prepare_tags(
        self, tags: Mapping[str, object], plain: Plain
    ) -> tuple[bytes, frozenset[str] | None]:
        """Encode tags for the quick way; names are None where a line must say what was lost."""
        if not tags:
            return b"", _NO_NAMES
        fields: dict[str, object] = {}
        for key, value in tags.items():
            name = self._name(key, fields, plain)
            fields[name] = plain.tag(name, value)
        if plain.degraded or len(fields) > _FEW:
            return b"", None
        return self._piece(fields), frozenset(fields) | frozenset(tags)

    def _piece(self, fields: Mapping[str, object]) -> bytes:
        return b"," + self._dumps(fields)[1:-1] if fields else b""


def _second_text(second: int) -> bytes:
    return time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second)).encode()


def _escape(match: re.Match[bytes]) -> bytes:
    return rf"\u{ord(match[0].decode()):04x}".encode()


def _said(message: object, plain: Plain) -> str:
    value = plain.value(message)
    return value if isinstance(value, str) else plain.text(str(value))


def _short_text(value: object, plain: Plain) -> str:
    plained = value if type(value) is str else plain.value(value)
    return plain.text(plained if isinstance(plained, str) else str(plained), MAX_NAME_BYTES)


def _shortened(text: str) -> str:
    return text if len(text) <= 1024 else text[:1024] + "…"


def _short_error(error: dict[str, object] | None) -> dict[str, object] | None:
    if error is None:
        return None
    return {name: _shortened(value) for name, value in error.items() if isinstance(value, str)}
