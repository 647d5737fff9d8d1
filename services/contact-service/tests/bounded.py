"""Read an XLSX file under limits of the system: a minute of processor, 300 MiB of memory; print its rows."""

from __future__ import annotations

import io
import resource
import sys

from contact_service.domain import xlsx_file

file = io.BytesIO(sys.stdin.buffer.read())
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
resource.setrlimit(resource.RLIMIT_AS, (300 * 1024 * 1024,) * 2)

try:
    print(sum(1 for _ in xlsx_file.rows(file)))
except Exception as exc:
    print(type(exc).__name__)
