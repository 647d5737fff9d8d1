"""How often is too often: by the account that is tried, and by the address that tries."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address

from mtenant_chassis import RateLimit


def network_of(address: str) -> str:
    """Return what one caller has of addresses: of IPv6 it is a /64 (RFC 6177), so that counts.

    >>> network_of("2001:db8::1") == network_of("2001:db8::ffff"), network_of("192.0.2.7")
    (True, '192.0.2.7')
    """
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(IPv6Network((found, 64), strict=False))


@dataclass(frozen=True)
class Limits:
    """The limits of routes that anybody can reach.

    Attributes:
        account: Passwords tried for one account. Whoever waits out the pause may go on: an account
            that is locked for good is one that anybody can lock.
        address: Passwords tried from one address, which a whole office may share.
        mail: Mails to one address of a person.
        registration: Registrations from one address.
    """

    account: RateLimit
    address: RateLimit
    mail: RateLimit
    registration: RateLimit

    @classmethod
    def of(cls, *, account: int, address: int) -> Limits:
        """Return the limits, in attempts of five minutes."""
        return cls(
            RateLimit("login-account", account, 300),
            RateLimit("login-address", address, 300),
            RateLimit("mail", 5, 3600),
            RateLimit("registration", address, 3600),
        )
