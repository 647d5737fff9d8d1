"""The reference page, made from the table: `python -m mtenant_errors > REFERENCE.md`."""

from __future__ import annotations

import logging

from mtenant_errors.exceptions import CLASSES
from mtenant_errors.table import KINDS, Kind

_HEAD = """\
# Reference: kinds of errors

Made from `mtenant_errors/table.py` by `python -m mtenant_errors > REFERENCE.md`. Do not edit.

| class | status | code | gRPC | retryable | log | title | default message | source |
|---|---|---|---|---|---|---|---|---|
"""

_CLASSES = """
## When to raise which

"""

_BODY = """
The `type` of a problem is `urn:mtenant:error:<code>`. A status without a row is read by
`from_problem` as the x00 of its hundred (RFC 9110, 15).

## Members of a problem

| member | from | present |
|---|---|---|
| `type` | `urn:mtenant:error:` and the code | always |
| `title`, `status` | the table | always |
| `detail` | `detail`, or else the message | always |
| `instance` | the path of the request | if given |
| `code` | `code` | always |
| `error` | `message` | always |
| `details` | `detail` | if there is one |
| `request_id` | `scope["state"]["request_id"]` | if given |
| `retryable` | the table, the class or the far side | always |
| `errors` | `errors` | if there are any |

## Response fields

| field | when |
|---|---|
| `Content-Type: application/problem+json` | always |
| `Cache-Control: no-store` | always |
| `Retry-After` | if there is a `retry_after`; whole seconds, rounded up, a day at most |
| `WWW-Authenticate` | on a 401: `Bearer`, or what `headers` says |
| `Allow` and others | what `headers` says |
"""


def reference() -> str:
    """Return the page as Markdown."""
    rows = "\n".join(_row(kind) for kind in KINDS)
    classes = "\n".join(
        f"- `{kind.name}`: {(CLASSES[kind.status].__doc__ or '').splitlines()[0]}" for kind in KINDS
    )
    return f"{_HEAD}{rows}\n{_BODY}{_CLASSES}{classes}\n"


def _row(kind: Kind) -> str:
    return (
        f"| `{kind.name}` | {kind.status} | `{kind.code}` | {kind.grpc_code} "
        f"| {'yes' if kind.retryable else 'no'} | {logging.getLevelName(kind.log_level).lower()} "
        f"| {kind.title} | {kind.message} | {kind.source} |"
    )
