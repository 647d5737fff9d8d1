"""Whether a person opened a mail, or a machine on the way to one.

Scanners of mail servers follow every link, and some programs fetch every picture as soon as a mail arrives.
A proxy that fetches when somebody reads, such as Gmail's, is a person's and is not flagged by its name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

# Cubot makes telephones.
_SCANNER: Final = re.compile(
    r"(?<!cu)bot\b|crawl|spider|scan|preview|prefetch|monitor|validator|curl/|wget/|python|java/|okhttp|"
    r"go-http-client|libwww|headless|barracuda|mimecast|proofpoint|safelinks|symantec|trendmicro",
    re.IGNORECASE,
)
# Apple's Mail Privacy Protection fetches with this and nothing behind it.
_BARE: Final = "Mozilla/5.0"


def why_machine(
    method: str,
    fields: Mapping[str, str],
    *,
    sent_at: datetime | None,
    now: datetime,
    window: timedelta,
) -> str | None:
    """Return why this was no person; None if nothing says so.

    Args:
        method: Of the request.
        fields: Its header, by names in lower case.
        sent_at: When the mail was handed over; None while it is not, as far as is known: a server that
            looks into a mail before it accepts it, or after a process died that had handed it over.
        now: When this happened.
        window: So soon after that no person does.

    >>> now = datetime(2026, 1, 1)
    >>> why_machine("GET", {"user-agent": "curl/8"}, sent_at=now, now=now, window=timedelta(0))
    'user agent'
    """
    agent = fields.get("user-agent", "").strip()
    if method != "GET":
        return "method"
    if "prefetch" in f"{fields.get('purpose', '')} {fields.get('sec-purpose', '')}".lower():
        return "prefetch"
    if not agent or agent == _BARE or _SCANNER.search(agent):
        return "user agent"
    if sent_at is None or now - sent_at < window:
        return "too soon"
    return None
