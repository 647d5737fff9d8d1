"""Validation: from the text of a token to the principal it speaks for."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from hashlib import blake2b
from typing import Any, Final

from mtenant_chassis.auth.keys import KeySource
from mtenant_chassis.auth.principal import Principal
from mtenant_chassis.auth.token import InvalidToken, check_claims, key_id, read_token

_REMEMBERED: Final = 4096


class LocalValidation:
    """Checks signatures by the keys of a `KeySource`.

    A client sends one token for minutes, and a signature costs more than all else that a request
    does before its handler: so the last 4,096 good tokens are remembered, by their digest, until
    they expire or the keys change.

    Args:
        keys: Where keys come from.
        issuer: Whose tokens are believed.
        audiences: The names that this service answers to.
    """

    def __init__(self, keys: KeySource, *, issuer: str, audiences: tuple[str, ...]) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audiences = audiences
        self._good: OrderedDict[bytes, tuple[int, Principal]] = OrderedDict()

    async def __call__(self, token: str) -> Principal:
        """Return whom the token speaks for.

        Raises:
            InvalidToken: It speaks for nobody.
            KeysUnavailable: Nobody can tell now.
        """
        # A stolen memory image then holds no token that still works.
        digest = blake2b(token.encode("latin-1", "replace"), digest_size=32).digest()
        known = self._good.get(digest)
        if known is not None:
            generation, principal = known
            if generation == self._keys.generation and time.time() < principal.expires:
                return principal
            del self._good[digest]
        kid = key_id(token)
        key = await self._keys.find(kid)
        if key is None:
            raise InvalidToken(internal="signed with a key that is not published")
        said = read_token(token, key, issuer=self._issuer, audiences=self._audiences)
        principal = said.principal
        self._good[digest] = self._keys.generation, principal
        while len(self._good) > _REMEMBERED:
            self._good.popitem(last=False)
        return principal


class RemoteValidation:
    """Asks auth-service about every token.

    Args:
        ask: Sends the token, returns its claims; raises InvalidToken for one that is refused.
        issuer: Whose tokens are believed.
        audiences: The names that this service answers to.
    """

    def __init__(
        self,
        ask: Callable[[str], Awaitable[Mapping[str, Any]]],
        *,
        issuer: str,
        audiences: tuple[str, ...],
    ) -> None:
        self._ask = ask
        self._issuer = issuer
        self._audiences = audiences

    async def __call__(self, token: str) -> Principal:
        """Return whom the token speaks for.

        Raises:
            InvalidToken: It speaks for nobody.
            AppError: auth-service did not answer.
        """
        key_id(token)  # nobody is asked about what is no token
        claims = await self._ask(token)
        said = check_claims(claims, issuer=self._issuer, audiences=self._audiences)
        return said.principal
