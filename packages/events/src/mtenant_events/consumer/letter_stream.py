"""The dead letters in their stream."""

from __future__ import annotations

from nats.aio.client import Client
from nats.js.api import RawStreamMsg
from nats.js.errors import APIError, NotFoundError

from mtenant_events.config import EventsConfig
from mtenant_events.deadletter import DeadLetter, LetterNotFound
from mtenant_events.translation import translated

_NO_MESSAGE = 10043  # nats-server, server/errors.json: sequence not found, as deleting says it


class LetterStream:
    """Reads and deletes dead letters; it meets `deadletter.LetterStore`.

    Args:
        client: A connected client.
        config: Names the streams.
    """

    def __init__(self, client: Client, config: EventsConfig) -> None:
        self._manager = client.jsm()
        self._config = config

    async def next_letter(self, after: int, subject: str) -> DeadLetter | None:
        """Return the first letter behind a place, of subjects like this one."""
        found = await self._get(self._config.dead_letter_stream, after + 1, subject=subject)
        return None if found is None else _letter(found)

    async def letter(self, id_: int) -> DeadLetter | None:
        """Return one letter; None if it is gone."""
        found = await self._get(self._config.dead_letter_stream, id_)
        return None if found is None else _letter(found)

    async def body_of(self, sequence: int) -> bytes | None:
        """Return the body of a message of the events' stream; None if it is gone."""
        found = await self._get(self._config.stream, sequence)
        return None if found is None else found.data or b""

    async def delete(self, id_: int) -> bool:
        """Delete a letter; tell whether it was there."""
        try:
            return await self._manager.delete_msg(self._config.dead_letter_stream, id_)
        except NotFoundError:
            return False
        except APIError as exc:
            if exc.err_code == _NO_MESSAGE:
                return False
            raise translated(exc) or exc from exc

    async def _get(
        self, stream: str, sequence: int, *, subject: str | None = None
    ) -> RawStreamMsg | None:
        if sequence < 1:
            raise LetterNotFound(internal=f"no dead letter {sequence}")
        try:
            return await self._manager.get_msg(
                stream, sequence, subject=subject, next=subject is not None
            )
        except NotFoundError:
            return None
        except Exception as exc:
            raise translated(exc) or exc from exc


def _letter(found: RawStreamMsg) -> DeadLetter:
    headers = {name: str(value) for name, value in (found.headers or {}).items()}
    return DeadLetter(found.seq or 0, found.subject or "", headers, found.data or b"")
