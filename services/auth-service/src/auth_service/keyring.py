"""Keyring: the keys of this process: what it signs with, what it publishes, what it believes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from joserfc.jwk import OKPKey

from mtenant_chassis import AccessToken, KeySet
from mtenant_chassis.auth import read_token, write_token
from mtenant_chassis.auth.token import InvalidToken, key_id
from mtenant_logger import get_logger

EVERY: Final = 60.0
"""Seconds between two looks at the stored keys: a new one is published fifteen minutes ahead."""

PAUSE: Final = 5.0
"""Seconds between two looks for the sake of a key id that nobody knows: anybody can make one up."""

_PATIENCE: Final = 5.0

log = get_logger(__name__)


@dataclass(frozen=True)
class LoadedKeys:
    """The keys at one time.

    Attributes:
        keys: All that are published.
        signer: The id of the one that signs.
    """

    keys: KeySet
    signer: str


Load = Callable[[], Awaitable[LoadedKeys]]


class Keyring:
    """A `KeySource` of the chassis, and the only place that signs.

    Attributes:
        generation: Another number after every change.
    """

    def __init__(self) -> None:
        self.generation = 0
        self._loaded: LoadedKeys | None = None
        self._load: Load | None = None
        self._looked = 0.0

    @property
    def _present(self) -> LoadedKeys:
        if self._loaded is None:
            raise RuntimeError("the keys are loaded when the app starts")
        return self._loaded

    def public(self) -> dict[str, Any]:
        """Return the JWK set of the public halves."""
        return self._present.keys.public()

    def sign(self, token: AccessToken) -> str:
        """Return the text of a token."""
        signer = self._present.signer
        return write_token(token, self._present.keys.keys[signer], signer)

    async def find(self, kid: str) -> OKPKey | None:
        """Return the key of this id, or None: another process may have made it a moment ago."""
        key = self._present.keys.keys.get(kid)
        if key is None and time.monotonic() - self._looked >= PAUSE:
            await self._look()
            key = self._present.keys.keys.get(kid)
        return key

    async def read(self, text: str, *, audiences: Iterable[str], issuer: str) -> AccessToken:
        """Return what a token says.

        Raises:
            InvalidToken: It says nothing that is to be believed.
        """
        key = await self.find(key_id(text))
        if key is None:
            raise InvalidToken(internal="signed with a key that is not published")
        return read_token(text, key, issuer=issuer, audiences=audiences)

    @asynccontextmanager
    async def open(self, load: Load) -> AsyncIterator[None]:
        """Load the keys, and look every minute whether there are others.

        Args:
            load: Reads them; what it raises the first time stops the start.
        """
        self._load = load
        self._take(await load())
        watching = asyncio.create_task(self._watch(), name="auth-service keyring")
        try:
            yield
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            await self._look()

    async def _look(self) -> None:
        self._looked = time.monotonic()
        if self._load is None:
            return
        try:
            async with asyncio.timeout(_PATIENCE):
                self._take(await self._load())
        except Exception as exc:
            # The keys that are known stay good; the next look may succeed.
            log.error("the signing keys cannot be read", err=exc)

    def _take(self, loaded: LoadedKeys) -> None:
        self._looked = time.monotonic()
        if self._loaded is None or loaded.keys.public() != self._loaded.keys.public():
            self.generation += 1
        self._loaded = loaded
