"""CloudEvents 1.0 on NATS: the attributes of a message, as they are written and as they are read.

The names of attributes are those of the CloudEvents specification 1.0.2 and its documented extensions
(`correlationid`, `causationid`, `partitionkey`); `tenantid`, `organizationid` and `actor` are ours.
Which headers mean what is the NATS protocol binding for CloudEvents 1.0.2, section 3.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NoReturn
from urllib.parse import unquote_to_bytes

from mtenant_events.errors import BadMessage, Reason

STRUCTURED: Final = "application/cloudevents+json"
"""The content type of an event that is one JSON object."""

_USUAL: Final = frozenset(
    {
        *("specversion", "id", "source", "type", "time", "datacontenttype", "subject", "data"),
        *("tenantid", "organizationid", "partitionkey", "actor", "correlationid", "causationid"),
    }
)
_NAME: Final = re.compile(r"[a-z0-9]+")  # CloudEvents 1.0.2, naming conventions
_JSON_TYPE: Final = re.compile(r"[^/;\s]+/([^/;\s]+\+)?json\s*(;.*)?", re.IGNORECASE)
_FORMAT: Final = re.compile(r"application/cloudevents(-[a-z]+)?(\+[a-z0-9.-]+)?", re.IGNORECASE)
_CHARSET: Final = re.compile(r"charset\s*=\s*\"?([^\s\";]+)", re.IGNORECASE)
_HALF_PAIR: Final = re.compile(rb"\\u[dD][89a-fA-F]")
# RFC 3339, 5.6. `fromisoformat` alone would take week dates and times without a zone.
_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,18})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_HEADER: Final = re.compile(r"[ -~]*")
_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_UNQUOTE: Final = re.compile(r"\\(.)")


def read(headers: Mapping[str, str], body: bytes) -> dict[str, Any] | None:
    """Return the attributes of a message, and its data as `data`; None if it is no CloudEvent.

    Raises:
        BadMessage: It is none that can be read.
    """
    if headers.get("Content-Type") == STRUCTURED:  # as it is written here
        return _structured(body)
    lowered = {name.lower(): value for name, value in headers.items()}
    content_type = lowered.get("content-type", "")
    if content_type[:23].lower() == "application/cloudevents":
        _check_format(content_type)
        return _structured(body)
    if any(name.startswith("ce-") for name in lowered):
        if len(lowered) != len(headers):
            raise BadMessage(Reason.INVALID_HEADER, "a header is there twice")
        return _binary(lowered, body)
    if content_type and not _JSON_TYPE.fullmatch(content_type):
        raise BadMessage(Reason.UNSUPPORTED_CONTENT_TYPE, f"got {content_type!r:.100}")
    return None


def parse_json(body: bytes) -> Any:
    """Read JSON; strictly: no member twice, no NaN, no half of a surrogate pair (RFC 7493, 2).

    Raises:
        BadMessage: `INVALID_UTF8`, or `INVALID_JSON`.
    """
    try:
        value = _DECODER.decode(body.decode())
        if _HALF_PAIR.search(body):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        raise BadMessage(Reason.INVALID_UTF8) from None
    except (ValueError, RecursionError) as exc:
        # A JSONDecodeError holds the document, which is for no log.
        what = exc.msg if isinstance(exc, json.JSONDecodeError) else type(exc).__name__
        raise BadMessage(Reason.INVALID_JSON, what) from None
    return value


def parse_time(text: object) -> datetime:
    """Read an RFC 3339 time.

    Raises:
        BadMessage: `INVALID_ATTRIBUTE`.
    """
    if isinstance(text, str) and _TIME.fullmatch(text):
        try:
            return datetime.fromisoformat(text.upper())
        except ValueError:
            pass
    raise BadMessage(Reason.INVALID_ATTRIBUTE, "time is none of RFC 3339")


def _check_format(content_type: str) -> None:
    name, _, parameters = content_type.partition(";")
    found = _FORMAT.fullmatch(name.strip())
    charset = _CHARSET.search(parameters)
    if (
        found is None
        or found[1]
        or (found[2] or "+json").lower() != "+json"
        or (charset is not None and charset[1].lower() not in {"utf-8", "utf8", "us-ascii"})
    ):
        raise BadMessage(Reason.UNSUPPORTED_CONTENT_TYPE, f"got {content_type!r:.100}")


def _structured(body: bytes) -> dict[str, Any]:
    attributes = parse_json(body)
    if not isinstance(attributes, dict):
        raise BadMessage(Reason.INVALID_JSON, "not an object")
    if "data_base64" in attributes:
        encoded = attributes.pop("data_base64")
        if "data" in attributes:
            raise BadMessage(Reason.INVALID_DATA, "data and data_base64 are both there")
        attributes["data"] = _data(_content_type(attributes), _base64(encoded))
    _check_names(attributes)
    return attributes


def _binary(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        name[3:]: _unescape(value) for name, value in headers.items() if name.startswith("ce-")
    }
    _check_names(attributes)
    attributes.pop("data", None)  # no attribute has this name; the body is the data
    content_type = headers.get("content-type") or attributes.get("datacontenttype")
    attributes["data"] = _data(content_type, body)
    return attributes


def _check_names(attributes: Mapping[str, Any]) -> None:
    if attributes.keys() <= _USUAL:
        return
    for name in attributes:
        if not _NAME.fullmatch(name):
            raise BadMessage(Reason.INVALID_ATTRIBUTE, f"{name!r:.100} is no name of an attribute")


def _content_type(attributes: Mapping[str, Any]) -> str | None:
    content_type = attributes.get("datacontenttype")
    if content_type is not None and not isinstance(content_type, str):
        raise BadMessage(Reason.INVALID_ATTRIBUTE, "datacontenttype is no text")
    return content_type


def _data(content_type: str | None, body: bytes) -> Any:
    if content_type is not None and not _JSON_TYPE.fullmatch(content_type):
        return body
    return parse_json(body) if body else None


def _base64(encoded: Any) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise BadMessage(Reason.INVALID_DATA, "data_base64 is none") from None


def _unescape(value: str) -> str:
    """Undo what the binding does to a value: first quotes, then one round of percent signs."""
    quoted = _QUOTED.fullmatch(value.strip())
    if quoted is not None:
        value = _UNQUOTE.sub(r"\1", quoted[1])
    if not _HEADER.fullmatch(value) or _PERCENT.search(value):
        raise BadMessage(Reason.INVALID_HEADER, "a character or a percent sign must be encoded")
    try:
        # Not `unquote`: it makes a replacement character of what is no UTF-8.
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        raise BadMessage(Reason.INVALID_HEADER, "what is encoded is no UTF-8") from None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is there twice")
    return members


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_members, parse_constant=_constant)
