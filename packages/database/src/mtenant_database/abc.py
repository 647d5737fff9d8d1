"""What this package asks of others, so that a fake may stand in."""

from __future__ import annotations

from typing import Protocol, TypeVar

H_co = TypeVar("H_co", covariant=True)


class TenantSource(Protocol[H_co]):
    """Where handles come from: `Database`, `routing.ReadWriteRouter`, or `testing.RecordingDatabase`.

    `routing.Databases` gives an awaitable of one.
    """

    def tenant(self, tenant: str, /) -> H_co:
        """Return the handle of a tenant.

        Raises:
            InvalidTenantId: The text is no tenant id.
        """
        ...
