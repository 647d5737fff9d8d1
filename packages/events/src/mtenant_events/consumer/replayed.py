"""Messages that come a second time, out of the dead letters and for one consumer only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mtenant_events.inbox import History

ATTEMPTS: Final = "Replay-Attempts"
"""The header that says how many attempts there were before the replay: they count no more."""

ENDS: Final = "Replay-Ends"
"""The header that says how many deliveries had a known end before the replay."""

LETTER: Final = "Replay-Of"
"""The header that says which dead letter it was: its place in the stream of dead letters."""

_NONE: Final = History()


def replay_subject(prefix: str, consumer: str, subject: str) -> str:
    """Return the subject by which an event reaches one consumer only.

    >>> replay_subject("crm", "mail__send", "crm.evt.acme.deal.closed_won.3")
    'crm.replay.mail__send.acme.deal.closed_won.3'
    """
    return f"{prefix}.replay.{consumer}.{event_subject(prefix, subject)[len(prefix) + 5 :]}"


def event_subject(prefix: str, subject: str) -> str:
    """Return the subject that an event was published to at first.

    >>> event_subject("crm", "crm.replay.mail__send.acme.deal.closed_won.3")
    'crm.evt.acme.deal.closed_won.3'
    """
    root = f"{prefix}.replay."
    if not subject.startswith(root):
        return subject
    return f"{prefix}.evt.{subject[len(root) :].partition('.')[2]}"


def baseline(headers: Mapping[str, str]) -> History:
    """Return what had happened before the replay; what is no number says nothing."""
    if ATTEMPTS not in headers:
        return _NONE
    return History(_number(headers[ATTEMPTS]), _number(headers.get(ENDS, "0")))


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
