"""Public keys: where they come from, and how long they are believed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from mtenant_errors import ServiceUnavailable

FRESH: Final = 300.0
"""Seconds after which a key set is fetched again, as auth-service's `Cache-Control` says."""

STALE: Final = 3600.0
"""Seconds for which keys are believed while auth-service does not answer."""

PAUSE: Final = 30.0
"""Seconds between two fetches for key ids that nobody knows: anybody can make one up."""

_RETRY: Final = 1.0
_MOST: Final = 16

_logger = logging.getLogger("mtenant_chassis.auth")


class KeysUnavailable(ServiceUnavailable):
    """No key can be had at the moment, so that nobody can be authenticated."""

    code, message = "KEYS_UNAVAILABLE", "tokens cannot be checked now: try again"


@dataclass(frozen=True)
class KeySet:
    """Keys by their id.

    >>> key = generate_key()
    >>> KeySet.parse(KeySet({"k1": key}).public()).keys["k1"].as_dict(private=False) == key.as_dict(private=False)
    True
    """

    keys: Mapping[str, OKPKey]

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> KeySet:
        """Read a JWK set (RFC 7517, 5); members that are no Ed25519 signing keys are left out.

        Raises:
            ValueError: It is no JWK set.
        """
        members = document.get("keys")
        if not isinstance(members, list):
            raise ValueError("a JWK set has a list of keys")  # noqa: TRY004 - of a document
        found = {}
        for member in members[:_MOST]:
            if (
                not isinstance(member, dict)
                or member.get("kty") != "OKP"
                or member.get("crv") != "Ed25519"
                or member.get("use", "sig") != "sig"
                or not isinstance(member.get("kid"), str)
            ):
                continue
            try:
                # Its two public members and no other: what else it says is not our business.
                found[member["kid"]] = OKPKey.import_key(
                    {"kty": "OKP", "crv": "Ed25519", "x": member["x"]}
                )
            except (JoseError, KeyError, TypeError, ValueError):
                _logger.warning("a key of the key set cannot be read")
        return cls(found)

    def public(self) -> dict[str, Any]:
        """Return the JWK set of the public halves."""
        usage = {"use": "sig", "alg": "EdDSA"}
        return {
            "keys": [
                {**key.as_dict(private=False), **usage, "kid": kid}
                for kid, key in self.keys.items()
            ]
        }


class KeySource(Protocol):
    """Where keys come from."""

    @property
    def generation(self) -> int:
        """Another number after every change of the keys; what was checked before is checked again."""
        ...

    async def find(self, kid: str) -> OKPKey | None:
        """Return the key of this id, or None if there is none.

        Raises:
            KeysUnavailable: Nobody can tell now.
        """
        ...


class StaticKeys:
    """Keys that the process has itself: those of the service that issues tokens, and of tests."""

    def __init__(self, keys: KeySet) -> None:
        self._keys = keys
        self.generation = 0

    @property
    def keys(self) -> KeySet:
        """The present keys."""
        return self._keys

    def replace(self, keys: KeySet) -> None:
        """Use other keys from now on; tokens of those that are gone are refused."""
        self._keys = keys
        self.generation += 1

    async def find(self, kid: str) -> OKPKey | None:
        """Return the key of this id, or None."""
        return self._keys.keys.get(kid)


class RemoteKeys:
    """The key set of auth-service, kept in memory.

    It is fetched when the first token comes, again after five minutes, and for an unknown key id, but
    for that once in thirty seconds. Concurrent requests share one fetch. While auth-service is down
    the keys last an hour.

    Args:
        fetch: Returns the JWK set as an object.
        clock: Gives seconds that only go forward.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Mapping[str, Any]]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys = KeySet({})
        self._fetched: float | None = None
        self._tried: float | None = None
        self._fetching: asyncio.Task[None] | None = None
        self.generation = 0

    async def find(self, kid: str) -> OKPKey | None:
        """Return the key of this id, or None if auth-service does not publish it.

        Raises:
            KeysUnavailable: There are no keys yet, or they are older than an hour.
        """
        key = self._keys.keys.get(kid)
        if key is not None and self._age(self._fetched) < FRESH:
            return key
        if self._age(self._tried) >= (PAUSE if self._knows and key is None else _RETRY):
            await self._refresh()
        elif self._fetching is not None:
            await asyncio.shield(self._fetching)
        if self._age(self._fetched) >= STALE:
            raise KeysUnavailable(internal="no key set within the last hour", retry_after=1)
        return self._keys.keys.get(kid)

    @property
    def _knows(self) -> bool:
        return self._age(self._fetched) < FRESH

    def _age(self, since: float | None) -> float:
        return float("inf") if since is None else self._clock() - since

    async def _refresh(self) -> None:
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._load())
        # Whoever waits may be cancelled; the fetch is for the others too.
        await asyncio.shield(self._fetching)

    async def _load(self) -> None:
        self._tried = self._clock()
        try:
            keys = KeySet.parse(await self._fetch())
        except Exception as exc:
            _logger.warning("the key set cannot be fetched: %s: %s", type(exc).__name__, exc)
        else:
            if _public(keys) != _public(self._keys):
                self.generation += 1
            self._keys, self._fetched = keys, self._clock()
        finally:
            self._fetching = None


def _public(keys: KeySet) -> dict[str, Any]:
    return {kid: key.as_dict(private=False) for kid, key in keys.keys.items()}


def generate_key() -> OKPKey:
    """Return a new signing key."""
    return OKPKey.generate_key("Ed25519", auto_kid=False)
