"""Passwords: hashed by Argon2id with a bounded amount of memory, whoever asks and however often."""

from __future__ import annotations

import asyncio
import secrets
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Annotated, Final, Self, TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError
from pydantic import StringConstraints

from auth_service.domain.errors import HashingBusy, PasswordWeak

T = TypeVar("T")

SHORTEST: Final = 12
"""Characters of a new password. Length is the one rule (NIST SP 800-63B, 3.1.1.2)."""

LONGEST: Final = 256
"""Characters of a password: enough for sentences, and too few to keep a processor busy."""

Password = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST)]
NewPassword = Annotated[str, StringConstraints(min_length=SHORTEST, max_length=LONGEST)]

_WAITING: Final = 64


def check_new(password: str, *, email: str) -> None:
    """Refuse what whoever knows the address would try first.

    Raises:
        PasswordWeak: It is the address or a part of it, or a few characters over and over.
    """
    text = _normal(password).lower()
    name = email.partition("@")[0]
    rest = text.replace(email, "").replace(name, "") if len(name) > 3 else text.replace(email, "")
    if len(rest) < SHORTEST // 2 or len(set(text)) < 4:
        raise PasswordWeak


def _normal(password: str) -> str:
    # What two keyboards send for one character is one password (NIST SP 800-63B, 3.1.1.2).
    return unicodedata.normalize("NFKC", password)


class Passwords:
    """Hashes and checks passwords in a few threads; `async with` it.

    Each of them takes `memory` bytes while it works: `workers * memory` is all that logins can take. At most
    64 wait; the next is told to come again.

    Args:
        memory: Bytes for one hash. The defaults of the settings are OWASP's: 19 MiB, two passes.
        passes: Over that memory.
        workers: Hashes at a time.
    """

    def __init__(self, *, memory: int, passes: int, workers: int) -> None:
        self._hasher = PasswordHasher(
            time_cost=passes, memory_cost=memory // 1024, parallelism=1, type=Type.ID
        )
        self._workers = workers
        self._waiting = 0
        self._threads: ThreadPoolExecutor | None = None
        self._nobodys = ""

    async def __aenter__(self) -> Self:
        self._threads = ThreadPoolExecutor(self._workers, thread_name_prefix="argon2")
        self._nobodys = await self.hash(secrets.token_urlsafe())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """Return the hash of a new password.

        Raises:
            HashingBusy: Too many wait.
        """
        return await self._run(lambda: self._hasher.hash(_normal(password)))

    async def verify(self, known: str | None, password: str) -> bool:
        """Tell whether a password is the one with this hash.

        Args:
            known: The hash. None, for an account that is not there or has no password: the answer is
                no, and takes as long.
            password: What was given.

        Raises:
            HashingBusy: Too many wait.
        """
        found = await self._run(lambda: self._matches(known or self._nobodys, password))
        return found and known is not None

    def outdated(self, known: str) -> bool:
        """Tell whether a hash was made with other parameters than the present ones."""
        return self._hasher.check_needs_rehash(known)

    def _matches(self, known: str, password: str) -> bool:
        try:
            return self._hasher.verify(known, _normal(password))
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._threads is None:
            raise RuntimeError("passwords are hashed inside of `async with Passwords(...)`")
        if self._waiting >= self._workers + _WAITING:
            raise HashingBusy(retry_after=1)
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        # Not when the caller goes, but when the thread is free: a client that hangs up frees nothing.
        future.add_done_callback(self._done)
        return await asyncio.shield(future)

    def _done(self, future: asyncio.Future[T]) -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()  # whoever waited may be gone
