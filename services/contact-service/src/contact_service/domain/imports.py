"""Imports: what becomes of the rows of a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

OnDuplicate = Literal["skip", "update", "error"]
"""What becomes of a row whose contact is there: by its id, or else by its address."""

Format = Literal["csv", "xlsx"]
ImportStatus = Literal["running", "done", "failed"]

AT_ONCE: Final = 1000
"""Rows that are imported before the request is answered; more are a job."""

MOST_ROWS: Final = 200_000
MOST_COLUMNS: Final = 200
LARGEST_FILE: Final = 20 * 1024 * 1024
LONGEST_CELL: Final = 10_000


@dataclass(frozen=True)
class Counts:
    """What became of some rows.

    Attributes:
        created: Contacts that were made.
        updated: Contacts that are not as before.
        skipped: Rows whose contact was there, and stayed as it was.
        invalid: Rows that were refused.
    """

    created: int = 0
    updated: int = 0
    skipped: int = 0
    invalid: int = 0


@dataclass(frozen=True)
class Import:
    """A file that is imported, or was.

    Attributes:
        id: Its id.
        filename: As the client called it.
        format: Of the file.
        on_duplicate: What becomes of duplicates.
        dry_run: Whether nothing is written.
        header: Its first row.
        ignored: Columns that mean nothing here.
        status: How far it is.
        error: Why it failed.
        total: Its rows.
        line: Up to which line it is done.
        created: Contacts that were made.
        updated: Contacts that are not as before.
        skipped: Rows whose contact was there, and stayed as it was.
        invalid: Rows that were refused.
        actor: Who imports, for the audit trail.
        caller: The same as the id of a user.
        request_id: Of the request that it came with.
        created_at: When it came.
        finished_at: When it was over.
    """

    id: UUID
    filename: str | None
    format: Format
    on_duplicate: OnDuplicate
    dry_run: bool
    header: Sequence[str]
    ignored: Sequence[str]
    status: ImportStatus
    error: str | None
    total: int
    line: int
    created: int
    updated: int
    skipped: int
    invalid: int
    actor: str
    caller: str
    request_id: str | None
    created_at: datetime
    finished_at: datetime | None
