"""Which task holds an open transaction, so that no handle is used beside it by mistake."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from mtenant_database.errors import TenantMismatch, TransactionOpen


class _Held(Protocol):
    @property
    def tenant(self) -> str | None: ...


class Holders:
    """The open transactions of one database, by the task that entered them.

    Tasks, and not a context variable: a task that is started inside a transaction inherits the
    context, and may well do work of its own.
    """

    def __init__(self) -> None:
        self._held: dict[asyncio.Task[Any] | None, _Held] = {}

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, transaction: _Held) -> asyncio.Task[Any] | None:
        """Note that the current task holds a transaction; return the task, for `let_go`.

        Raises:
            TransactionOpen: As `check_free`.
        """
        self.check_free(transaction.tenant)
        task = asyncio.current_task()
        self._held[task] = transaction
        return task

    def let_go(self, task: asyncio.Task[Any] | None) -> None:
        """Note that a task holds none any more."""
        self._held.pop(task, None)

    def check_free(self, tenant: str | None) -> None:
        """Refuse a statement outside of the transaction that the current task holds.

        Raises:
            TransactionOpen: It holds one.
            TenantMismatch: It holds one, of another tenant.
        """
        if not self._held:
            return
        held = self._held.get(asyncio.current_task())
        if held is None:
            return
        told = f"a handle of {tenant!r} was used inside an open transaction of {held.tenant!r}"
        if tenant is not None and held.tenant is not None and tenant != held.tenant:
            raise TenantMismatch(internal=f"{told}: end the one before the other begins")
        raise TransactionOpen(internal=f"{told}: use the transaction itself, `tx`")
