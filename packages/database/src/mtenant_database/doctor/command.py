"""What `mtenant-db doctor` does."""

from __future__ import annotations

import sys
from argparse import Namespace

from mtenant_database.doctor.examination import examine
from mtenant_database.migrate.commands import conninfo_of


async def doctor(options: Namespace) -> int:
    """Examine a database, say what was found, and return the exit status."""
    report = await examine(conninfo_of(options))
    text = report.to_json() if options.json else report.to_text()
    # A name may hold what the terminal's encoding has not.
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))
    return report.exit_code
