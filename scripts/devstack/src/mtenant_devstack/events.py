"""The events that pass while the demo runs, seen from outside: by a plain NATS client."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from mtenant_devstack.errors import DevstackError

SUBJECT = "crm.evt.>"  # crm.evt.<tenant>.<type, in two words>.<partition>
WORDS = 6  # of such a subject
TIMEOUT = 30.0  # seconds for an event to come through outbox and relay


@dataclass(frozen=True)
class Seen:
    """An event.

    Attributes:
        tenant: whose it is.
        type: as "deal.closed_won".
    """

    tenant: str
    type: str


class EventWatch:
    """Listens to all events, in a thread, for as long as the `with` block runs.

    Args:
        url: of NATS.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._seen: list[Seen] = []
        self._news = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._over = asyncio.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        """Listen from now on.

        Raises:
            DevstackError: NATS cannot be reached.
        """
        self._thread.start()
        self._listening.wait()
        if self._failure is not None:
            self._thread.join()
            raise DevstackError(f"no connection to NATS: {self._failure}") from self._failure
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def wait(self, tenant: str, *types: str) -> None:
        """Return when a tenant's events of all these types have passed.

        Raises:
            DevstackError: one has not, in time.
        """
        deadline = time.monotonic() + TIMEOUT
        with self._news:
            while missing := [one for one in types if Seen(tenant, one) not in self._seen]:
                if not self._news.wait(max(0.0, deadline - time.monotonic())):
                    raise DevstackError(f"no {', '.join(missing)} of {tenant} within {TIMEOUT:g} s")

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            try:
                runner.run(self._listen())
            except Exception as exc:  # told to whoever waits for the start
                self._failure = exc
            finally:
                self._listening.set()

    async def _listen(self) -> None:
        import nats  # noqa: PLC0415 -- drivers come with the extra [demo]

        client = await nats.connect(self._url, max_reconnect_attempts=1, connect_timeout=10)
        try:

            async def heard(message: object) -> None:
                self._note(str(getattr(message, "subject", "")))

            await client.subscribe(SUBJECT, cb=heard)
            await client.flush()
            self._listening.set()
            await self._over.wait()
        finally:
            await client.close()

    def _note(self, subject: str) -> None:
        words = subject.split(".")
        if len(words) == WORDS:
            with self._news:
                self._seen.append(Seen(words[2], ".".join(words[3:5])))
                self._news.notify_all()
