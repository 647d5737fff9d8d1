"""The errors of outbox and inbox.

```
AppError
├── InternalServerError  500
│   ├── TransactionRequired      an event was added outside of a transaction
│   ├── OutboxNotInstalled       there is no outbox, or the role may not use it
│   └── InstallationRefused      somebody else has made it, or a newer program
└── ServiceUnavailable  503
    └── OutboxUnavailable      r the relay's connection is lost, or there is none
```
"""

from __future__ import annotations

from mtenant_errors import InternalServerError, ServiceUnavailable


class TransactionRequired(InternalServerError):
    """An event is added in an open transaction, so that it and the change are one; here is none."""

    code = "TRANSACTION_REQUIRED"


class OutboxNotInstalled(InternalServerError):
    """There is no outbox in this database, or this role may not use it.

    It is made by `mtenant-events outbox install`, or by `mtenant-db migrate up` with the files of
    the component `events`.
    """

    code = "OUTBOX_NOT_INSTALLED"


class InstallationRefused(InternalServerError):
    """The outbox cannot be installed or upgraded here: `message` says why, and what to do."""

    code = "OUTBOX_INSTALLATION_REFUSED"


class OutboxUnavailable(ServiceUnavailable):
    """The database does not answer, or refused; nothing was lost, and it may be tried again."""

    code = "OUTBOX_UNAVAILABLE"
