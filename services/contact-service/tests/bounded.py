"""Read XLSX files under limits of the system: 300 MiB of memory, and minutes of processor for all; print their rows.

Each comes behind its length in eight bytes.
"""

from __future__ import annotations

import io
import resource
import sys

from contact_service.domain import xlsx_file

resource.setrlimit(resource.RLIMIT_CPU, (240, 240))
resource.setrlimit(resource.RLIMIT_AS, (300 * 1024 * 1024,) * 2)

while length := sys.stdin.buffer.read(8):
    file = io.BytesIO(sys.stdin.buffer.read(int.from_bytes(length, "big")))
    try:
        print(sum(1 for _ in xlsx_file.rows(file)), flush=True)
    except Exception as exc:
        print(type(exc).__name__, flush=True)
